/* quantize.c - `inferd quantize IN OUT --type T`: progress, signals and the closing line; the work
 * is engine/load/quantize.c's.
 *
 * The work runs in a thread of its own, so that this one can wait for a signal: an interrupted run
 * stops between two slices and leaves nothing. */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/load/imatrix.h"
#include "engine/load/mix.h"
#include "engine/load/quantize.h"
#include "kernels/base/clock.h"
#include "kernels/base/thread.h"
#include "server/cmd/cmd.h"
#include "server/signals.h"

enum { BAR = 40 };

struct run {
    struct quantize_options o;
    struct quantize_result result;
    struct imatrix *imatrix;
    const struct config *c;
    _Atomic bool stop, done;
    enum status status;
    char message[1024];
    bool terminal;
    char stage[32];
    double shown;
};

/* On a terminal a bar that is redrawn at most ten times a second; else one line a stage. */
static void show(void *ctx, const char *stage, double done)
{
    struct run *r = ctx;
    bool fresh = strcmp(stage, r->stage) != 0;
    int full = (int)(done * BAR);

    snprintf(r->stage, sizeof r->stage, "%s", stage);
    if (!r->terminal) {
        if (fresh)
            fprintf(stderr, "%s\n", stage);
        return;
    }
    if (!fresh && clock_now() - r->shown < 0.1)
        return;
    r->shown = clock_now();
    fprintf(stderr, "\r\033[K%-16s [", stage);
    for (int i = 0; i < BAR; i++)
        fputc(i < full ? '=' : ' ', stderr);
    fprintf(stderr, "] %3.0f %%", 100 * done);
}

static void say(void *ctx, const char *line)
{
    struct run *r = ctx;

    fprintf(stderr, "%s%s\n", r->terminal ? "\r\033[K" : "", line);
}

static enum status work(struct run *r)
{
    struct checkpoint *c;
    enum status s;

    if (r->c->imatrix)
        TRY(imatrix_open(r->c->imatrix, &r->imatrix));
    r->o.imatrix = r->imatrix;
    TRY(checkpoint_open(r->c->model, &c));
    s = quantize_file(c, r->c->output, &r->o, &r->result);
    checkpoint_close(c);
    return s;
}

static void *work_thread(void *arg)
{
    struct run *r = arg;

    r->status = work(r);
    if (r->status != OK)
        snprintf(r->message, sizeof r->message, "%s", fail_text());
    imatrix_close(r->imatrix);
    atomic_store(&r->done, true);
    return NULL;
}

static int finish(const struct run *r, double seconds)
{
    const struct quantize_result *x = &r->result;

    if (r->terminal)
        fprintf(stderr, "\r\033[K");
    if (r->status != OK) {
        fail(r->status, "%s", r->message);
        return cmd_failed();
    }
    fprintf(stderr, "%s: %.1f MiB -> %.1f MiB, %.2f bits a weight, %.1f s\n", r->c->output,
            (double)x->bytes_in / (1 << 20), (double)x->bytes_out / (1 << 20),
            x->weights ? 8.0 * (double)x->weight_bytes / (double)x->weights : 0, seconds);
    return EXIT_GOOD;
}

static int usage(const char *what)
{
    fprintf(stderr, "inferd quantize: %s; usage: inferd quantize IN OUT --type TYPE\n", what);
    return EXIT_USAGE;
}

int cmd_quantize(const struct config *c)
{
    struct run r = {.c = c, .terminal = isatty(STDERR_FILENO)};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    double start = clock_now();
    pthread_t thread;
    int signals;

    if (!c->output)
        return usage("which file is it to write?");
    if (!c->type)
        return usage("which type?");
    if (!mix_find(c->type)) {
        fprintf(stderr, "inferd quantize: no type \"%s\" (types: %s)\n", c->type, mix_list());
        return EXIT_USAGE;
    }
    r.o = (struct quantize_options){.type = c->type,
                                    .requantize = c->allow_requantize,
                                    .pure = c->pure,
                                    .threads = c->threads ? (int)c->threads : thread_cpus(),
                                    .progress = show,
                                    .note = say,
                                    .ctx = &r,
                                    .stop = &r.stop};
    sigaction(SIGXFSZ, &ignore,
              NULL); /* a file that grows too large is an error like a full disk */
    if (signals_open(0, &signals) != OK || thread_start(&thread, "quantize", work_thread, &r) != OK)
        return cmd_failed();
    while (!atomic_load(&r.done)) {
        if (signals_take(signals, 0.05))
            atomic_store(&r.stop, true);
    }
    pthread_join(thread, NULL);
    close(signals);
    return finish(&r, clock_now() - start);
}
