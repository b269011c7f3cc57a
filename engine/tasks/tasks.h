/* tasks.h - the kinds of work there are. */
#ifndef ENGINE_TASKS_TASKS_H
#define ENGINE_TASKS_TASKS_H

#include "engine/run/task.h"

extern const struct task task_generate;

/* NULL: no such task. */
const struct task *tasks_find(const char *name);

#endif
