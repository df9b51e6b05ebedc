/* The stamps of many files at once, in a thread that holds no lock of Python's.

   A run with nothing to do has to ask the system for every file once. In Python, half of that time goes into objects
   that are thrown away at once; and nothing else could be done meanwhile. stamps.py has the same in Python, for where
   this could not be compiled, and says what it does. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __APPLE__
#define MTIME st_mtimespec
#define CTIME st_ctimespec
#else
#define MTIME st_mtim
#define CTIME st_ctim
#endif

typedef struct {
    int64_t size, mtime, ctime;
    uint64_t inode;
} Stamp;

typedef struct {
    PyObject_HEAD
    PyObject *root, *followed, *plain, *stamps; /* bytes all; only the thread writes into stamps, until it has ended */
    pthread_t thread;
    pid_t process;
    int is_running;
} Stamps;

static int64_t nanoseconds(struct timespec time) { return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec; }

static Py_ssize_t count(PyObject *paths)
{
    const char *at = PyBytes_AS_STRING(paths), *end = at + PyBytes_GET_SIZE(paths);
    Py_ssize_t found = 0;
    while ((at = memchr(at, 0, end - at)) != NULL) {
        at++;
        found++;
    }
    return found;
}

static Stamp *look(int root, PyObject *paths, int flags, Stamp *stamp)
{
    const char *path = PyBytes_AS_STRING(paths), *end = path + PyBytes_GET_SIZE(paths);
    for (; path < end; path += strlen(path) + 1, stamp++) {
        struct stat status;
        if (fstatat(root, path, &status, flags) != 0) {
            memset(stamp, 0xff, sizeof *stamp);
            continue;
        }
        stamp->size = status.st_size;
        stamp->mtime = nanoseconds(status.MTIME);
        stamp->ctime = nanoseconds(status.CTIME);
        stamp->inode = status.st_ino;
    }
    return stamp;
}

static void *look_at_all(void *given)
{
    Stamps *self = given;
    int root = open(PyBytes_AS_STRING(self->root), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    Stamp *stamp = (Stamp *)PyBytes_AS_STRING(self->stamps);
    stamp = look(root, self->followed, 0, stamp);
    look(root, self->plain, AT_SYMLINK_NOFOLLOW, stamp);
    if (root >= 0)
        close(root);
    return NULL;
}

static void wait_for_thread(Stamps *self)
{
    if (self->is_running && self->process == getpid()) { /* a child of fork has none of its parent's threads */
        Py_BEGIN_ALLOW_THREADS
        pthread_join(self->thread, NULL);
        Py_END_ALLOW_THREADS
    }
    self->is_running = 0;
}

static PyObject *stamps_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"root", "followed", "plain", NULL};
    PyObject *root, *followed, *plain;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "SSS", names, &root, &followed, &plain))
        return NULL;
    Stamps *self = (Stamps *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    Py_INCREF(root), Py_INCREF(followed), Py_INCREF(plain);
    self->root = root, self->followed = followed, self->plain = plain;
    self->stamps = PyBytes_FromStringAndSize(NULL, (count(followed) + count(plain)) * (Py_ssize_t)sizeof(Stamp));
    if (self->stamps == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    self->process = getpid();
    self->is_running = pthread_create(&self->thread, NULL, look_at_all, self) == 0;
    if (!self->is_running) {
        Py_BEGIN_ALLOW_THREADS
        look_at_all(self);
        Py_END_ALLOW_THREADS
    }
    return (PyObject *)self;
}

static void stamps_dealloc(Stamps *self)
{
    wait_for_thread(self);
    Py_XDECREF(self->root), Py_XDECREF(self->followed), Py_XDECREF(self->plain), Py_XDECREF(self->stamps);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *stamps_taken(Stamps *self, PyObject *unused)
{
    wait_for_thread(self);
    return Py_NewRef(self->stamps);
}

static PyMethodDef stamps_methods[] = {
    {"taken", (PyCFunction)stamps_taken, METH_NOARGS, "Return the stamps, once all are taken."},
    {NULL},
};

static PyType_Slot stamps_slots[] = {
    {Py_tp_doc, "The stamps of many files, taken beside whatever else goes on; see stamps.py."},
    {Py_tp_new, stamps_new},
    {Py_tp_dealloc, stamps_dealloc},
    {Py_tp_methods, stamps_methods},
    {0, NULL},
};

static PyType_Spec stamps_spec = {
    .name = "dagger.cache._stamps.Stamps",
    .basicsize = sizeof(Stamps),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = stamps_slots,
};

static int add_type(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&stamps_spec);
    if (type == NULL)
        return -1;
    int failed = PyModule_AddObjectRef(module, "Stamps", type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, add_type},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_stamps",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__stamps(void) { return PyModuleDef_Init(&module); }
