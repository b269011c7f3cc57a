/* tasks.c - THE table of tasks. */
#include "engine/tasks/tasks.h"

#include <string.h>

static const struct task *const tasks[] = {&task_generate};

const struct task *tasks_find(const char *name)
{
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++)
        if (strcmp(tasks[i]->name, name) == 0)
            return tasks[i];
    return NULL;
}
