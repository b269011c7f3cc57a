/* work.c - see work.h. The work has a thread of its own, so that this one can wait for a signal;
 * what was begun is then undone by whoever works, and not by dying in the middle of it. */
#include "server/cmd/work.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/thread.h"
#include "server/signals.h"

enum { BAR = 40 };

void work_show(struct work *w, const char *stage, double done)
{
    bool fresh = strcmp(stage, w->stage) != 0;
    int full = (int)(done * BAR);

    snprintf(w->stage, sizeof w->stage, "%s", stage);
    if (!w->terminal) {
        if (fresh)
            fprintf(stderr, "%s\n", stage);
        return;
    }
    if (!fresh && clock_now() - w->shown < 0.1)
        return;
    w->shown = clock_now();
    fprintf(stderr, "\r\033[K%-16s [", stage);
    for (int i = 0; i < BAR; i++)
        fputc(i < full ? '=' : ' ', stderr);
    fprintf(stderr, "] %3.0f %%", 100 * done);
}

void work_say(struct work *w, const char *line)
{
    fprintf(stderr, "%s%s\n", w->terminal ? "\r\033[K" : "", line);
}

static void *thread_main(void *arg)
{
    struct work *w = arg;

    w->status = w->run(w->ctx);
    if (w->status != OK)
        snprintf(w->message, sizeof w->message, "%s", fail_text());
    atomic_store(&w->done, true);
    return NULL;
}

enum status work_run(struct work *w)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    pthread_t thread;
    int signals;

    w->terminal = isatty(STDERR_FILENO);
    sigaction(SIGXFSZ, &ignore, NULL); /* a file grown too large is an error like a full disk */
    TRY(signals_open(0, &signals));
    TRY(thread_start(&thread, "work", thread_main, w));
    while (!atomic_load(&w->done)) {
        if (signals_take(signals, 0.05))
            atomic_store(&w->stop, true);
    }
    pthread_join(thread, NULL);
    close(signals);
    if (w->terminal)
        fprintf(stderr, "\r\033[K");
    return w->status == OK ? OK : fail(w->status, "%s", w->message);
}
