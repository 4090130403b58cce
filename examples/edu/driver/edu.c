// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for QEMU's teaching device (docs/specs/edu.rst in QEMU's source), written to be pulled out under a reader.
 *
 * Each device is a node /dev/eduN. Who writes a decimal number to it can read that number's factorial (modulo 2^32),
 * which the device computes and tells of by an interrupt. The node outlives the device as long as somebody has it open:
 * reads and writes then end with ENODEV.
 */
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>

#define EDU_ID 0x00
#define EDU_FACTORIAL 0x08
#define EDU_STATUS 0x20
#define EDU_STATUS_RAISE 0x80
#define EDU_IRQ_STATUS 0x24
#define EDU_IRQ_ACK 0x64
#define EDU_MAGIC 0xed /* the low byte of the identification register */

struct edu {
	struct kref kref;
	struct mutex lock; /* one computation at a time; protects regs */
	struct completion done;
	void __iomem *regs; /* NULL: the device has gone */
	struct miscdevice misc;
	char name[16];
	int number;
	u32 result;
};

static DEFINE_IDA(edu_numbers);

static void edu_free(struct kref *kref)
{
	struct edu *edu = container_of(kref, struct edu, kref);

	ida_free(&edu_numbers, edu->number);
	kfree(edu);
}

static irqreturn_t edu_interrupt(int irq, void *data)
{
	struct edu *edu = data;
	u32 status = ioread32(edu->regs + EDU_IRQ_STATUS);

	if (!status || status == ~0u) /* a shared line; or a device that is being pulled out */
		return IRQ_NONE;
	iowrite32(status, edu->regs + EDU_IRQ_ACK);
	complete(&edu->done);
	return IRQ_HANDLED;
}

static int edu_open(struct inode *inode, struct file *file)
{
	struct edu *edu = container_of(file->private_data, struct edu, misc);

	/* misc_open holds misc_mtx, which misc_deregister takes: the device is still there. */
	kref_get(&edu->kref);
	file->private_data = edu;
	return 0;
}

static int edu_release(struct inode *inode, struct file *file)
{
	struct edu *edu = file->private_data;

	kref_put(&edu->kref, edu_free);
	return 0;
}

static ssize_t edu_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	struct edu *edu = file->private_data;
	u32 number;
	int err = kstrtou32_from_user(buf, count, 10, &number);

	if (err)
		return err;
	mutex_lock(&edu->lock);
	err = -ENODEV;
	if (edu->regs) {
		reinit_completion(&edu->done);
		iowrite32(EDU_STATUS_RAISE, edu->regs + EDU_STATUS);
		iowrite32(number, edu->regs + EDU_FACTORIAL);
		err = wait_for_completion_timeout(&edu->done, 5 * HZ) ? 0 : -ETIMEDOUT;
		if (!err)
			edu->result = ioread32(edu->regs + EDU_FACTORIAL);
	}
	mutex_unlock(&edu->lock);
	return err ? err : count;
}

static ssize_t edu_read(struct file *file, char __user *buf, size_t count, loff_t *pos)
{
	struct edu *edu = file->private_data;
	char text[16];
	bool gone;
	int len;

	mutex_lock(&edu->lock);
	gone = !edu->regs;
	len = scnprintf(text, sizeof(text), "%u\n", edu->result);
	mutex_unlock(&edu->lock);
	return gone ? -ENODEV : simple_read_from_buffer(buf, count, pos, text, len);
}

static const struct file_operations edu_fops = {
	.owner = THIS_MODULE,
	.open = edu_open,
	.release = edu_release,
	.read = edu_read,
	.write = edu_write,
	.llseek = default_llseek,
};

static int edu_start(struct edu *edu, struct pci_dev *pdev)
{
	int err = pcim_enable_device(pdev);

	if (err)
		return err;
	err = pcim_iomap_regions(pdev, BIT(0), "edu");
	if (err)
		return err;
	edu->regs = pcim_iomap_table(pdev)[0];
	if ((ioread32(edu->regs + EDU_ID) & 0xff) != EDU_MAGIC)
		return dev_err_probe(&pdev->dev, -ENODEV, "not an edu device\n");
	pci_set_master(pdev);
	err = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_ALL_TYPES);
	if (err < 0)
		return err;
	err = request_irq(pci_irq_vector(pdev, 0), edu_interrupt, IRQF_SHARED, "edu", edu);
	if (err)
		pci_free_irq_vectors(pdev);
	return err;
}

static void edu_stop(struct edu *edu, struct pci_dev *pdev)
{
	mutex_lock(&edu->lock); /* who computes has five seconds to end */
	free_irq(pci_irq_vector(pdev, 0), edu);
	edu->regs = NULL;
	mutex_unlock(&edu->lock);
	pci_free_irq_vectors(pdev);
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu *edu = kzalloc(sizeof(*edu), GFP_KERNEL);
	int err;

	if (!edu)
		return -ENOMEM;
	kref_init(&edu->kref);
	mutex_init(&edu->lock);
	init_completion(&edu->done);
	edu->number = ida_alloc(&edu_numbers, GFP_KERNEL);
	if (edu->number < 0) {
		err = edu->number;
		kfree(edu);
		return err;
	}
	err = edu_start(edu, pdev);
	if (err)
		goto put;
	snprintf(edu->name, sizeof(edu->name), "edu%d", edu->number);
	edu->misc.minor = MISC_DYNAMIC_MINOR;
	edu->misc.name = edu->name;
	edu->misc.fops = &edu_fops;
	edu->misc.parent = &pdev->dev;
	err = misc_register(&edu->misc);
	if (err)
		goto stop;
	pci_set_drvdata(pdev, edu);
	return 0;
stop:
	edu_stop(edu, pdev);
put:
	kref_put(&edu->kref, edu_free);
	return err;
}

static void edu_remove(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	misc_deregister(&edu->misc);
	edu_stop(edu, pdev);
	kref_put(&edu->kref, edu_free);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = "edu",
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
};
module_pci_driver(edu_driver);

MODULE_DESCRIPTION("QEMU's teaching device");
MODULE_LICENSE("GPL");
