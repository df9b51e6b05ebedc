/* Two calls of the system's that Python has no function for. ctypes has, but a worker waits for it to load longer than
   for all that it does before its first job; process_groups.py and capture.py fall back on it where this could not be
   compiled. And a step of the processor's, for offers.py. */

#include <Python.h>
#include <stdio.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

static PyObject *control(PyObject *self, PyObject *args)
{
    int option;
    unsigned long value;
    (void)self;
    if (!PyArg_ParseTuple(args, "ik", &option, &value))
        return NULL;
#ifdef __linux__
    return PyBool_FromLong(prctl(option, value, 0, 0, 0) == 0);
#else
    Py_RETURN_FALSE;
#endif
}

static PyObject *flush(PyObject *self, PyObject *none)
{
    (void)self, (void)none;
    Py_BEGIN_ALLOW_THREADS
    fflush(NULL);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *swap(PyObject *self, PyObject *args)
{
    Py_buffer memory;
    Py_ssize_t index;
    unsigned char former, wanted;
    int done = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "w*nbb", &memory, &index, &former, &wanted))
        return NULL;
    int is_inside = index >= 0 && index < memory.len;
    if (is_inside)
        done = __atomic_compare_exchange_n(
            (unsigned char *)memory.buf + index, &former, wanted, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    PyBuffer_Release(&memory);
    if (!is_inside) {
        PyErr_SetString(PyExc_IndexError, "no such byte");
        return NULL;
    }
    return PyBool_FromLong(done);
}

static PyMethodDef methods[] = {
    {"control", control, METH_VARARGS, "Call prctl, and return whether that did something."},
    {"flush", flush, METH_NOARGS, "Write out what C code holds of what was printed."},
    {"swap", swap, METH_VARARGS, "Change a byte of shared memory from one value to another, or return False."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_system",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__system(void) { return PyModuleDef_Init(&module); }
