/* The outlines of plain tasks, many in a row.

   outline.py says what an outline is, and does without this where it could not be compiled. Here is what most tasks of a
   large workflow are: of a core type, with nothing uncommon, code that is known, and inputs that are files or what other
   tasks make as their only output. At anything else this stops, and outline.py looks at that task. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define DIGITS 16

/* Names of attributes, and words that stand in outlines. */
static struct {
    PyObject *dependencies, *ignore, *version, *cache, *env, *tools, *script, *function;
    PyObject *inputs, *outputs, *identifier, *pointer, *parents, *datums;
    PyObject *nothing, *list, *digits[DIGITS];
} text;

typedef struct {
    PyObject *tasks, *seen, *words, *codes; /* list, set, list, dict */
    PyObject *kinds;                        /* a dict of type to its name */
    PyObject *script_task, *file, *memory, *list;
} Survey;

/* Each of these returns 1 when it has done its part, 0 at something uncommon, -1 with an exception set. */

static int add_word(Survey *survey, PyObject *word) { return PyList_Append(survey->words, word) < 0 ? -1 : 1; }

static int add_count(Survey *survey, Py_ssize_t count)
{
    if (count < DIGITS)
        return add_word(survey, text.digits[count]);
    PyObject *word = PyUnicode_FromFormat("%zd", count);
    int done = word == NULL ? -1 : add_word(survey, word);
    Py_XDECREF(word);
    return done;
}

static int add_three(Survey *survey, PyObject *first, PyObject *second, PyObject *third)
{
    int done = add_word(survey, first);
    if (done > 0)
        done = add_word(survey, second);
    return done > 0 ? add_word(survey, third) : done;
}

/* Whether an attribute is this very object: what a task has that was declared without it. */
static int is_left_out(PyObject *task, PyObject *name, PyObject *usual)
{
    PyObject *value = PyObject_GetAttr(task, name);
    if (value == NULL)
        return -1;
    int found = value == usual || (PyTuple_CheckExact(value) && PyTuple_GET_SIZE(value) == 0 && usual == NULL);
    Py_DECREF(value);
    return found;
}

static int add_code(Survey *survey, PyObject *task)
{
    int is_script = (PyObject *)Py_TYPE(task) == survey->script_task;
    PyObject *body = PyObject_GetAttr(task, is_script ? text.script : text.function);
    if (body != NULL && !is_script)
        Py_SETREF(body, PyLong_FromVoidPtr(body)); /* its id */
    if (body == NULL)
        return -1;
    PyObject *code = PyDict_GetItemWithError(survey->codes, body);
    int done = code != NULL ? add_word(survey, code) : PyErr_Occurred() ? -1 : 0;
    Py_DECREF(body);
    return done;
}

/* Return the path of a file, or no text for a value; NULL without an exception for anything else. */
static PyObject *path_of(Survey *survey, PyObject *datum)
{
    PyObject *type = (PyObject *)Py_TYPE(datum);
    if (type == survey->memory)
        return Py_NewRef(text.nothing);
    if (type != survey->file)
        return NULL;
    PyObject *path = PyObject_GetAttr(datum, text.pointer);
    if (path != NULL && !PyUnicode_CheckExact(path))
        Py_CLEAR(path);
    return path;
}

static int add_maker(Survey *survey, PyObject *maker)
{
    int known = PySet_Contains(survey->seen, maker);
    if (known == 0)
        known = PySet_Add(survey->seen, maker) < 0 || PyList_Append(survey->tasks, maker) < 0 ? -1 : 1;
    return known;
}

static int add_made(Survey *survey, PyObject *name, PyObject *datum, PyObject *path, PyObject *maker)
{
    int done = add_maker(survey, maker);
    if (done < 0)
        return done;
    PyObject *outputs = PyObject_GetAttr(maker, text.outputs), *identifier = NULL, *output, *made;
    Py_ssize_t at = 0;
    done = outputs == NULL ? -1 : 0;
    if (outputs != NULL && PyDict_CheckExact(outputs) && PyDict_GET_SIZE(outputs) == 1
        && PyDict_Next(outputs, &at, &output, &made) && made == datum) {
        identifier = PyObject_GetAttr(maker, text.identifier);
        done = identifier == NULL ? -1 : PyUnicode_CheckExact(identifier) ? add_three(survey, name, identifier, path) : 0;
    }
    Py_XDECREF(outputs);
    Py_XDECREF(identifier);
    return done;
}

static int add_input(Survey *survey, PyObject *name, PyObject *datum)
{
    PyObject *path = path_of(survey, datum);
    if (path == NULL)
        return PyErr_Occurred() ? -1 : 0;
    PyObject *makers = PyObject_GetAttr(datum, text.parents);
    int done = makers == NULL ? -1 : 0;
    if (makers != NULL && PyTuple_CheckExact(makers)) {
        if (PyTuple_GET_SIZE(makers) == 1)
            done = add_made(survey, name, datum, path, PyTuple_GET_ITEM(makers, 0));
        else if (PyTuple_GET_SIZE(makers) == 0 && path != text.nothing)
            done = add_three(survey, name, text.nothing, path);
    }
    Py_DECREF(path);
    Py_XDECREF(makers);
    return done;
}

/* Whether none of the tasks that make a list, or members of it, makes it as a whole. */
static int is_of_members(PyObject *list, PyObject *makers)
{
    int done = PyTuple_CheckExact(makers);
    for (Py_ssize_t index = 0; done > 0 && index < PyTuple_GET_SIZE(makers); index++) {
        PyObject *outputs = PyObject_GetAttr(PyTuple_GET_ITEM(makers, index), text.outputs), *name, *datum;
        Py_ssize_t at = 0;
        done = outputs == NULL ? -1 : PyDict_CheckExact(outputs);
        while (done > 0 && PyDict_Next(outputs, &at, &name, &datum))
            done = datum != list;
        Py_XDECREF(outputs);
    }
    return done;
}

static int add_list(Survey *survey, PyObject *name, PyObject *list)
{
    PyObject *makers = PyObject_GetAttr(list, text.parents);
    PyObject *members = makers == NULL ? NULL : PyObject_GetAttr(list, text.datums);
    int done = members == NULL ? -1 : is_of_members(list, makers);
    if (done > 0)
        done = PyList_CheckExact(members) && PyList_GET_SIZE(members) > 0;
    if (done > 0) {
        done = add_word(survey, name);
        if (done > 0)
            done = add_word(survey, text.list);
        if (done > 0)
            done = add_count(survey, PyList_GET_SIZE(members));
        for (Py_ssize_t index = 0; done > 0 && index < PyList_GET_SIZE(members); index++) {
            PyObject *member = Py_NewRef(PyList_GET_ITEM(members, index));
            done = add_input(survey, name, member);
            Py_DECREF(member);
        }
    }
    Py_XDECREF(makers);
    Py_XDECREF(members);
    return done;
}

static int add_output(Survey *survey, PyObject *name, PyObject *datum)
{
    PyObject *path = path_of(survey, datum);
    if (path == NULL)
        return PyErr_Occurred() ? -1 : 0;
    Py_ssize_t length = PyUnicode_GET_LENGTH(path);
    int is_folder = length > 0 && PyUnicode_READ_CHAR(path, length - 1) == '/';
    int done = is_folder ? 0 : add_word(survey, name);
    if (done > 0)
        done = add_word(survey, path);
    Py_DECREF(path);
    return done;
}

static int add_each(Survey *survey, PyObject *data, int are_inputs)
{
    PyObject *name, *datum;
    Py_ssize_t at = 0;
    int done = 1;
    while (done > 0 && PyDict_Next(data, &at, &name, &datum)) {
        Py_INCREF(name), Py_INCREF(datum);
        if (!PyUnicode_CheckExact(name))
            done = 0;
        else if (!are_inputs)
            done = add_output(survey, name, datum);
        else if ((PyObject *)Py_TYPE(datum) == survey->list)
            done = add_list(survey, name, datum);
        else
            done = add_input(survey, name, datum);
        Py_DECREF(name), Py_DECREF(datum);
    }
    return done;
}

static int add_data(Survey *survey, PyObject *task)
{
    PyObject *inputs = PyObject_GetAttr(task, text.inputs);
    PyObject *outputs = inputs == NULL ? NULL : PyObject_GetAttr(task, text.outputs);
    int done = outputs == NULL ? -1 : PyDict_CheckExact(inputs) && PyDict_CheckExact(outputs);
    if (done > 0)
        done = add_count(survey, PyDict_GET_SIZE(inputs));
    if (done > 0)
        done = add_count(survey, PyDict_GET_SIZE(outputs));
    if (done > 0)
        done = add_each(survey, inputs, 1);
    if (done > 0)
        done = add_each(survey, outputs, 0);
    Py_XDECREF(inputs);
    Py_XDECREF(outputs);
    return done;
}

static int add_outline(Survey *survey, PyObject *task)
{
    PyObject *kind = PyDict_GetItemWithError(survey->kinds, (PyObject *)Py_TYPE(task));
    if (kind == NULL)
        return PyErr_Occurred() ? -1 : 0;
    int done = is_left_out(task, text.dependencies, Py_None);
    if (done > 0)
        done = is_left_out(task, text.ignore, NULL);
    if (done > 0)
        done = is_left_out(task, text.version, Py_None);
    if (done > 0)
        done = is_left_out(task, text.cache, Py_True);
    if ((PyObject *)Py_TYPE(task) == survey->script_task) {
        if (done > 0)
            done = is_left_out(task, text.env, NULL);
        if (done > 0)
            done = is_left_out(task, text.tools, NULL);
    }
    if (done > 0)
        done = add_word(survey, kind);
    if (done > 0)
        done = add_code(survey, task);
    return done > 0 ? add_data(survey, task) : done;
}

static PyObject *add_outlines(PyObject *module, PyObject *args)
{
    Survey survey;
    Py_ssize_t first, count, index = 0;
    if (!PyArg_ParseTuple(args, "O!nnO!O!O!(O!OOOO)", &PyList_Type, &survey.tasks, &first, &count, &PySet_Type,
                          &survey.seen, &PyList_Type, &survey.words, &PyDict_Type, &survey.codes, &PyDict_Type,
                          &survey.kinds, &survey.script_task, &survey.file, &survey.memory, &survey.list))
        return NULL;
    for (; index < count && first + index < PyList_GET_SIZE(survey.tasks); index++) {
        Py_ssize_t length = PyList_GET_SIZE(survey.words);
        PyObject *task = Py_NewRef(PyList_GET_ITEM(survey.tasks, first + index));
        int done = add_outline(&survey, task);
        Py_DECREF(task);
        if (done > 0)
            continue;
        if (done < 0 || PyList_SetSlice(survey.words, length, PyList_GET_SIZE(survey.words), NULL) < 0)
            return NULL;
        break;
    }
    return PyLong_FromSsize_t(index);
}

static PyMethodDef methods[] = {
    {"add_outlines", add_outlines, METH_VARARGS,
     "add_outlines(tasks, first, count, seen, words, codes, (kinds, ScriptTask, FileDatum, MemoryDatum, DatumList))\n\n"
     "Add the outlines of at most so many tasks from the first on to words, and what they need to tasks and seen.\n"
     "Returns how many were outlined before one that is not plain, or whose code is not among those that are known."},
    {NULL},
};

static int add_texts(PyObject *module)
{
    const struct {
        PyObject **place;
        const char *word;
    } words[] = {
        {&text.dependencies, "_dependencies"},
        {&text.ignore, "ignore"},
        {&text.version, "version"},
        {&text.cache, "cache"},
        {&text.env, "env"},
        {&text.tools, "tools"},
        {&text.script, "script"},
        {&text.function, "function"},
        {&text.inputs, "inputs"},
        {&text.outputs, "outputs"},
        {&text.identifier, "identifier"},
        {&text.pointer, "_pointer"},
        {&text.parents, "_parents"},
        {&text.datums, "datums"},
        {&text.nothing, ""},
        {&text.list, "\2"},
    };
    for (size_t index = 0; index < sizeof words / sizeof *words; index++)
        if ((*words[index].place = PyUnicode_InternFromString(words[index].word)) == NULL)
            return -1;
    for (int digit = 0; digit < DIGITS; digit++)
        if ((text.digits[digit] = PyUnicode_FromFormat("%d", digit)) == NULL)
            return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, add_texts},
    {0, NULL},
};

static PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_outline",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__outline(void) { return PyModuleDef_Init(&module); }
