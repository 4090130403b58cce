/* Where a guest's interpreter finds its library: at fixed places, whatever it was started as and from where.

   In place of Modules/getpath.c, which looks for landmarks. PYTHONPATH counts (not with -E or -I); PYTHONHOME does not. */

#include "Python.h"

#include <wchar.h>

#define PREFIX L"/usr"
#define PROGRAM L"/usr/bin/python" VERSION
#define LIBRARY L"/usr/lib/python" VERSION

static PyStatus
set_once(PyConfig *config, wchar_t **field, const wchar_t *text)
{
    return *field == NULL ? PyConfig_SetString(config, field, text) : PyStatus_Ok();
}

static PyStatus
add_path(PyConfig *config, const wchar_t *path, size_t length)
{
    wchar_t *copy = PyMem_RawMalloc((length + 1) * sizeof(wchar_t));
    if (copy == NULL) {
        return PyStatus_NoMemory();
    }
    wmemcpy(copy, path, length);
    copy[length] = L'\0';
    PyStatus status = PyWideStringList_Append(&config->module_search_paths, copy);
    PyMem_RawFree(copy);
    return status;
}

/* What Python/initconfig.c calls (Include/internal/pycore_pathconfig.h). */
PyStatus _PyConfig_InitPathConfig(PyConfig *config, int compute);

PyStatus
_PyConfig_InitPathConfig(PyConfig *config, int compute)
{
    if (!compute) {
        return PyStatus_Ok();
    }
    const struct {
        wchar_t **field;
        const wchar_t *text;
    } fixed[] = {
        {&config->executable, PROGRAM},
        {&config->base_executable, PROGRAM},
        {&config->prefix, PREFIX},
        {&config->base_prefix, PREFIX},
        {&config->exec_prefix, PREFIX},
        {&config->base_exec_prefix, PREFIX},
        {&config->stdlib_dir, LIBRARY},
        {&config->platlibdir, L"lib"},
    };
    const wchar_t *name = config->orig_argv.length > 0 ? config->orig_argv.items[0] : PROGRAM;
    PyStatus status = set_once(config, &config->program_name, name); /* for messages */
    if (PyStatus_Exception(status)) {
        return status;
    }
    for (size_t number = 0; number < Py_ARRAY_LENGTH(fixed); number++) {
        status = set_once(config, fixed[number].field, fixed[number].text);
        if (PyStatus_Exception(status)) {
            return status;
        }
    }
    if (config->module_search_paths_set) {
        return PyStatus_Ok();
    }
    for (const wchar_t *path = config->pythonpath_env; path != NULL && *path != L'\0';) {
        const wchar_t *end = wcschr(path, L':');
        size_t length = end != NULL ? (size_t)(end - path) : wcslen(path);
        status = add_path(config, path, length);
        if (PyStatus_Exception(status)) {
            return status;
        }
        path = end != NULL ? end + 1 : NULL;
    }
    config->module_search_paths_set = 1;
    return add_path(config, LIBRARY, wcslen(LIBRARY));
}
