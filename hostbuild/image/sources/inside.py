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

# Imports modules from sources that are handed in, and compiles one that makes them all, each before those that import
# it: what the import system would do, without its searches. Their code is a constant of that one's.
JOIN = """
import marshal, sys
from importlib.util import MAGIC_NUMBER, spec_from_loader
roots, sources = marshal.load(sys.stdin.buffer)
done = []
class Given:
    def find_spec(name, path=None, target=None):
        return spec_from_loader(name, Given, is_package=sources[name][2]) if name in sources else None
    def create_module(spec):
        return None
    def exec_module(module):
        text, file, is_package = sources[module.__name__]
        code = compile(text, file, "exec", dont_inherit=True, optimize=2)
        exec(code, module.__dict__)
        done.append((module.__name__, module.__name__.replace(".", "/") if is_package else "", code))
sys.meta_path.insert(0, Given)
for name in roots:
    __import__(name)
text = '''
import sys
make = type(sys)
here = __file__.rpartition("/")[0]
for name, directory, code in "CODES":
    module = sys.modules[name] = make(name)
    parent, _, child = name.rpartition(".")
    module.__package__ = name if directory else parent
    if directory:
        module.__path__ = [here + "/" + directory]
    if parent:
        setattr(sys.modules[parent], child, module)
    exec(code, module.__dict__)
'''
code = compile(text, "joined", "exec", dont_inherit=True, optimize=2)
code = code.replace(co_consts=tuple(tuple(done) if one == "CODES" else one for one in code.co_consts))
code = marshal.dumps(marshal.loads(marshal.dumps(code)))
sys.stdout.buffer.write(MAGIC_NUMBER + b"\\1\\0\\0\\0" + bytes(8) + code)
"""

# Imports modules from sources that are handed in; tells in which order these were executed, each before those that
# import it, and in which order all that is there now was begun.
ORDER = """
import marshal, sys
from importlib.util import spec_from_loader
roots, sources = marshal.load(sys.stdin.buffer)
done = []
class Given:
    def find_spec(name, path=None, target=None):
        return spec_from_loader(name, Given, is_package=sources[name][2]) if name in sources else None
    def create_module(spec):
        return None
    def exec_module(module):
        text, file, is_package = sources[module.__name__]
        exec(compile(text, file, "exec", dont_inherit=True, optimize=2), module.__dict__)
        done.append(module.__name__)
sys.meta_path.insert(0, Given)
for name in roots:
    __import__(name)
sys.stdout.buffer.write(marshal.dumps([done, list(sys.modules)], 2))
"""

# Makes modules that are frozen, in the order that stands in NAMES, with less than the import system needs for it.
FROZEN_BOOT = """
import _imp, sys
make = type(sys)
for name, is_package in NAMES:
    module = sys.modules[name] = make(name)
    parent, _, child = name.rpartition(".")
    module.__package__ = name if is_package else parent
    if is_package:
        module.__path__ = []
    if parent:
        setattr(sys.modules[parent], child, module)
    exec(_imp.get_frozen_object(name), module.__dict__)
"""
