/* A graph at the end of its program: leaving.py says what becomes of it, and why.

   What is plain in it is found by the way in which the collector of cycles finds what an object refers to. Each object
   is taken from the collector's sight when it is found, which also tells that it has been. No code of anybody runs until
   all is found; if there is anything else among it, all of it is given back. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef struct {
    PyObject **objects;
    Py_ssize_t count, room;
    Py_ssize_t functions; /* how often one of these was met */
    int depth;
    PyObject *tasks, *data, *others, *constants; /* tuples of types: tasks with a function, and so on */
} Found;

#define DEEPEST 16

static PyObject *function_name, *parents_name, *nobody;

static int is_among(PyObject *types, PyObject *type)
{
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(types); index++)
        if (PyTuple_GET_ITEM(types, index) == type)
            return 1;
    return 0;
}

static int is_of_graph(Found *found, PyObject *type)
{
    return is_among(found->data, type) || is_among(found->tasks, type) || is_among(found->others, type);
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

static int visit(PyObject *object, void *given);

/* Take a container that the collector does not look at: it has been found, or holds nothing that would be looked at. */
static int look_into(Found *found, PyObject *object)
{
    if (found->depth == DEEPEST)
        return 1;
    found->depth++;
    int more = Py_TYPE(object)->tp_traverse(object, visit, found);
    found->depth--;
    return more;
}

/* Take an object that another one refers to; return whether it is more than plain. */
static int visit(PyObject *object, void *given)
{
    Found *found = given;
    PyObject *type = (PyObject *)Py_TYPE(object);
    if (object == Py_None || PyUnicode_CheckExact(object) || PyLong_CheckExact(object) || PyBool_Check(object)
        || PyFloat_CheckExact(object) || PyBytes_CheckExact(object))
        return 0;
    if (PyDict_CheckExact(object) || PyTuple_CheckExact(object))
        return PyObject_GC_IsTracked(object) ? add(found, object) : look_into(found, object);
    if (PyList_CheckExact(object) || is_of_graph(found, type))
        return PyObject_GC_IsTracked(object) ? add(found, object) : 0;
    if (PyFunction_Check(object)) {
        found->functions++;
        return 0;
    }
    if (PyType_Check(object))
        return !is_of_graph(found, object);
    return !is_among(found->constants, type);
}

/* Whether all functions that were met are those of tasks, which will let go of them. */
static int are_of_tasks(Found *found)
{
    for (Py_ssize_t index = 0; index < found->count; index++) {
        PyObject *object = found->objects[index];
        if (!is_among(found->tasks, (PyObject *)Py_TYPE(object)))
            continue;
        PyObject *function = PyObject_GenericGetAttr(object, function_name);
        if (function == NULL)
            PyErr_Clear();
        else if (PyFunction_Check(function))
            found->functions--;
        Py_XDECREF(function);
    }
    return found->functions == 0;
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
    return are_of_tasks(found);
}

static void set_all(Found *found, PyObject *types, PyObject *name, PyObject *value)
{
    for (Py_ssize_t index = 0; index < found->count; index++)
        if (is_among(types, (PyObject *)Py_TYPE(found->objects[index]))
            && PyObject_GenericSetAttr(found->objects[index], name, value) < 0)
            PyErr_Clear();
}

/* Let data no longer lead to the tasks that make them, nor these to their functions: nothing leads back to itself then,
   and what the collector does not see does not hold anything that it looks at. Functions are last: code of their own may
   run when they go. */
static void untie(Found *found)
{
    for (Py_ssize_t index = 0; index < found->count; index++)
        Py_INCREF(found->objects[index]);
    set_all(found, found->data, parents_name, nobody);
    set_all(found, found->tasks, function_name, Py_None);
    for (Py_ssize_t index = 0; index < found->count; index++)
        Py_DECREF(found->objects[index]);
}

static PyObject *untie_plain(PyObject *module, PyObject *args)
{
    Found found = {NULL};
    PyObject *ends;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!", &PyList_Type, &ends, &PyTuple_Type, &found.tasks, &PyTuple_Type, &found.data,
                          &PyTuple_Type, &found.others, &PyTuple_Type, &found.constants))
        return NULL;
    int is_plain = find(&found, ends);
    if (is_plain)
        untie(&found);
    else
        while (found.count > 0)
            PyObject_GC_Track(found.objects[--found.count]);
    PyMem_Free(found.objects);
    return PyBool_FromLong(is_plain);
}

static PyMethodDef methods[] = {
    {"untie_plain", untie_plain, METH_VARARGS,
     "untie_plain(ends, types of tasks with a function, of data, of other tasks, of constants)\n\n"
     "Take apart all that tasks lead to, if that is plain, and hide it from the collector; tell whether it was."},
    {NULL},
};

static int add_constants(PyObject *module)
{
    function_name = PyUnicode_InternFromString("function");
    parents_name = PyUnicode_InternFromString("_parents");
    nobody = PyTuple_New(0);
    return function_name == NULL || parents_name == NULL || nobody == NULL ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, add_constants},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_leaving",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__leaving(void) { return PyModuleDef_Init(&module); }
