"""What hostbuild has an image's interpreter do, as text: scripts that get a question by marshal and answer in it.

The smallest library has neither json nor pickle.
"""

# Compiles pairs of source and file name to the content of .pyc files.
COMPILE = """
import marshal, sys
from importlib.util import MAGIC_NUMBER
done = []
for source, name in marshal.load(sys.stdin.buffer):
    code = compile(source, name, "exec", dont_inherit=True, optimize=2)
    # dumped twice, so that it does not matter which strings this process happens to share
    code = marshal.dumps(marshal.loads(marshal.dumps(code)))
    # the flags say: by hash, not to be checked; nobody reads the hash then
    done.append(MAGIC_NUMBER + b"\\1\\0\\0\\0" + bytes(8) + code)
sys.stdout.buffer.write(marshal.dumps(done, 2))
"""

# Tells which modules are built in, and which are frozen.
DESCRIBE = """
import _imp, marshal, sys
sys.stdout.buffer.write(marshal.dumps([list(sys.builtin_module_names), list(_imp._frozen_module_names())], 2))
"""

# Imports modules and tells what is there then. `hidden` are those that the image shall do without. What a module
# prints goes to standard error; one that cannot be imported here has told by then what it wanted.
OBSERVE = """
import marshal, os, sys
class Hidden:
    def find_spec(name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
names, hidden, sys.path[:] = marshal.load(sys.stdin.buffer)
answer, sys.stdout = os.dup(1), sys.stderr
os.dup2(2, 1)
sys.meta_path.insert(0, Hidden)
for name in names:
    try:
        __import__(name)
    except BaseException:
        pass
with open(answer, "wb") as stream:
    marshal.dump([name for name, module in sys.modules.items() if module is not None], stream, 2)
    stream.flush()
    os._exit(0)
"""

# Reads a source's imports with the text of imports.py; None for what this interpreter does not know either.
IMPORTED = """
import marshal, sys
text, sys.path[:], *question = marshal.load(sys.stdin.buffer)
there = {}
exec(text, there)
try:
    found = there["imported"](*question)
except (SyntaxError, ValueError):
    found = None
sys.stdout.buffer.write(marshal.dumps(found, 2))
"""

# Makes one file of modules and of what they import, and one of what is put off, with the texts of modules, of which
# the last one has join().
JOIN = """
import marshal, sys
texts, *question = marshal.load(sys.stdin.buffer)
for name, text in texts:
    module = sys.modules[name] = type(sys)(name)
    exec(compile(text, name, "exec", dont_inherit=True), module.__dict__)
sys.stdout.buffer.write(marshal.dumps(module.join(*question), 2))
"""
