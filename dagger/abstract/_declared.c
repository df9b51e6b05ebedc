/* What most tasks are declared with, looked at in one go: data by their names, and outputs by plain paths.

   declarations.py and the core's datum.py say what is wrong with anything else, and do without this where it could not be
   compiled. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

static struct {
    PyObject *parents, *known_quickhash, *pointer, *state, *no_parents;
} text;

static PyObject *are_named(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyType_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "are_named(data, type)");
    PyObject *name, *value;
    Py_ssize_t at = 0;
    if (!PyDict_CheckExact(args[0]))
        Py_RETURN_FALSE;
    while (PyDict_Next(args[0], &at, &name, &value))
        if (!PyUnicode_CheckExact(name) || !PyType_IsSubtype(Py_TYPE(value), (PyTypeObject *)args[1]))
            Py_RETURN_FALSE;
    Py_RETURN_TRUE;
}

#ifdef _WIN32
#define LONGEST_PLAIN 0 /* more characters than those below have a meaning */
#else
#define LONGEST_PLAIN 250
#endif

static int is_plain(PyObject *path)
{
    if (!PyUnicode_CheckExact(path) || !PyUnicode_IS_COMPACT_ASCII(path))
        return 0;
    Py_ssize_t length = PyUnicode_GET_LENGTH(path);
    const unsigned char *letters = PyUnicode_1BYTE_DATA(path);
    for (Py_ssize_t index = 0; index < length; index++) {
        unsigned char letter = letters[index];
        if (letter < ' ' || letter > '~' || letter == '*' || letter == '?' || letter == '[' || letter == '\\')
            return 0;
    }
    return 0 < length && length <= LONGEST_PLAIN;
}

static PyObject *is_plain_path(PyObject *module, PyObject *path) { return PyBool_FromLong(is_plain(path)); }

static PyObject *new_file(PyTypeObject *type, PyObject *path, PyObject *state)
{
    PyObject *file = type->tp_new(type, text.no_parents, NULL);
    if (file != NULL
        && (PyObject_SetAttr(file, text.parents, text.no_parents) < 0
            || PyObject_SetAttr(file, text.known_quickhash, Py_None) < 0
            || PyObject_SetAttr(file, text.pointer, path) < 0 || PyObject_SetAttr(file, text.state, state) < 0))
        Py_CLEAR(file);
    return file;
}

static PyObject *promised_files(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyType_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "promised_files(declared, type of files, their state)");
    PyObject *name, *path;
    Py_ssize_t at = 0;
    if (!PyDict_CheckExact(args[0]))
        return PyErr_Format(PyExc_TypeError, "what is declared is a plain dict");
    PyObject *files = PyDict_New();
    while (files != NULL && PyDict_Next(args[0], &at, &name, &path)) {
        Py_INCREF(name), Py_INCREF(path); /* a collection that this sets off may run code of anybody's */
        PyObject *file = is_plain(path) ? new_file((PyTypeObject *)args[1], path, args[2]) : Py_NewRef(Py_None);
        if (file == NULL || PyDict_SetItem(files, name, file) < 0)
            Py_CLEAR(files);
        Py_DECREF(name), Py_DECREF(path), Py_XDECREF(file);
    }
    return files;
}

static PyMethodDef methods[] = {
    {"are_named", (PyCFunction)(void (*)(void))are_named, METH_FASTCALL,
     "are_named(data, type)\n\n"
     "Tell whether data are a plain dict with texts as names and nothing but instances of a type, by birth."},
    {"is_plain_path", is_plain_path, METH_O,
     "is_plain_path(value)\n\n"
     "Tell whether a value is the path of one file for certain: no pattern, and fit for any file system."},
    {"promised_files", (PyCFunction)(void (*)(void))promised_files, METH_FASTCALL,
     "promised_files(declared, type of files, their state)\n\n"
     "Return name to a new file for each output that is declared by a plain path, to None for any other."},
    {NULL},
};

static int add_texts(PyObject *module)
{
    text.parents = PyUnicode_InternFromString("_parents");
    text.known_quickhash = PyUnicode_InternFromString("_known_quickhash");
    text.pointer = PyUnicode_InternFromString("_pointer");
    text.state = PyUnicode_InternFromString("_state");
    text.no_parents = PyTuple_New(0);
    return text.parents && text.known_quickhash && text.pointer && text.state && text.no_parents ? 0 : -1;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, add_texts},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_declared",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__declared(void) { return PyModuleDef_Init(&module); }
