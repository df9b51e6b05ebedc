/* A graph at the end of its program: leaving.py says what becomes of it, and why.

   What is plain in it is found by the way in which the collector of cycles finds what an object refers to. Each object
   is taken from the collector's sight when it is found, which also tells that it has been. No code of anybody runs until
   all is found; if there is anything else among it, all of it is given back. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef struct {
    PyObject **objects;
    Py_ssize_t count, room;
    PyObject *functions, *data, *others, *constants; /* tuples of types: tasks of functions, and so on */
} Found;

static int is_among(PyObject *types, PyObject *type)
{
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(types); index++)
        if (PyTuple_GET_ITEM(types, index) == type)
            return 1;
    return 0;
}

static int is_of_graph(Found *found, PyObject *type)
{
    return is_among(found->data, type) || is_among(found->functions, type) || is_among(found->others, type);
}

static int add(Found *found, PyObject *object)
{
    if (found->count == found->room) {
        Py_ssize_t room = found->room ? 2 * found->room : 1024;
        PyObject **objects = PyMem_Realloc(found->objects, room * sizeof *objects);
        if (objects == NULL)
            return 1;
        found->objects = objects, found->room = room;
    }
    PyObject_GC_UnTrack(object);
    found->objects[found->count++] = object;
    return 0;
}

/* Take an object that another one refers to; return whether it is more than plain. */
static int visit(PyObject *object, void *given)
{
    Found *found = given;
    PyObject *type = (PyObject *)Py_TYPE(object);
    if (object == Py_None || PyUnicode_CheckExact(object) || PyLong_CheckExact(object) || PyBool_Check(object)
        || PyFloat_CheckExact(object) || PyBytes_CheckExact(object))
        return 0;
    if (PyDict_CheckExact(object) || PyTuple_CheckExact(object) || PyList_CheckExact(object)
        || is_of_graph(found, type))
        return PyObject_GC_IsTracked(object) ? add(found, object) : 0; /* else it holds nothing, or has been found */
    if (PyFunction_Check(object)) /* its task lets go of it */
        return 0;
    if (PyType_Check(object))
        return !is_of_graph(found, object);
    return !is_among(found->constants, type);
}

static int find(Found *found, PyObject *ends)
{
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(ends); index++)
        if (visit(PyList_GET_ITEM(ends, index), found))
            return 0;
    for (Py_ssize_t index = 0; index < found->count; index++) {
        PyObject *object = found->objects[index];
        if (Py_TYPE(object)->tp_traverse(object, visit, found))
            return 0;
    }
    return 1;
}

/* Let data no longer lead to the tasks that make them, nor these to their functions: nothing leads back to itself then.
   What hides from the collector must not hold anything that it looks at. */
static int untie(Found *found)
{
    PyObject *nobody = PyTuple_New(0);
    int done = nobody != NULL;
    for (Py_ssize_t index = 0; index < found->count; index++)
        Py_INCREF(found->objects[index]); /* a function may be gone with its task, and code of its own run then */
    for (Py_ssize_t index = 0; done && index < found->count; index++) {
        PyObject *object = found->objects[index], *type = (PyObject *)Py_TYPE(object);
        if (is_among(found->data, type))
            done = PyObject_SetAttrString(object, "_parents", nobody) == 0;
        else if (is_among(found->functions, type))
            done = PyObject_SetAttrString(object, "function", Py_None) == 0;
    }
    for (Py_ssize_t index = 0; index < found->count; index++)
        Py_DECREF(found->objects[index]);
    Py_XDECREF(nobody);
    return done;
}

static PyObject *untie_plain(PyObject *module, PyObject *args)
{
    Found found = {NULL};
    PyObject *ends;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!", &PyList_Type, &ends, &PyTuple_Type, &found.functions, &PyTuple_Type,
                          &found.data, &PyTuple_Type, &found.others, &PyTuple_Type, &found.constants))
        return NULL;
    int is_plain = find(&found, ends);
    if (!is_plain)
        while (found.count > 0)
            PyObject_GC_Track(found.objects[--found.count]);
    int done = !is_plain || untie(&found);
    PyMem_Free(found.objects);
    return done ? PyBool_FromLong(is_plain) : NULL;
}

static PyMethodDef methods[] = {
    {"untie_plain", untie_plain, METH_VARARGS,
     "untie_plain(ends, kinds of tasks with a function, of data, of other tasks, types of constants)\n\n"
     "Take apart all that tasks lead to, if that is plain, and hide it from the collector; tell whether it was."},
    {NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_leaving",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__leaving(void) { return PyModuleDef_Init(&module); }
