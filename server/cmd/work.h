/* work.h - long work of a command: progress to see, and a signal to stop it. */
#ifndef SERVER_CMD_WORK_H
#define SERVER_CMD_WORK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "kernels/base/status.h"

struct work {
    /* Runs in a thread of its own; looks at `stop`, which becomes true when SIGINT or SIGTERM
     * came. */
    enum status (*run)(void *ctx);
    void *ctx;
    _Atomic bool stop;
    /* what follows is work.c's */
    _Atomic bool done;
    enum status status;
    char message[1024];
    bool terminal;
    char stage[32];
    double shown; /* when */
};

/* Runs it to its end. The failure's message is this thread's last, as usual. */
enum status work_run(struct work *w);
/* From `run`'s thread. On a terminal a bar, redrawn ten times a second at most; else one line a
 * stage. */
void work_show(struct work *w, const char *stage, double done);
/* A line on standard error that stays. */
void work_say(struct work *w, const char *line);

#endif
