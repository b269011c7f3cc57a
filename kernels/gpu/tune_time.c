/* tune_time.c - see tune_time.h. */
#include "kernels/gpu/tune_time.h"

#include "kernels/base/clock.h"

enum { LAUNCHES = 16 };
static const double BATCH_SECONDS = 1e-3; /* of one timing, at least */

struct timed {
    struct device *dev;
    tune_launch_fn *launch;
    void *ctx;
    const void *what;
};

enum status tune_settle(struct device *dev)
{
    const struct backend *b = dev->backend;
    struct fence f;
    TRY(b->record(b->queue(dev), &f));
    return b->wait(b->queue(dev), &f);
}

static enum status launches(const struct timed *t, int n)
{
    for (int i = 0; i < n; i++)
        TRY(t->launch(t->ctx, t->what));
    return OK;
}

/* The mean of so many batches of n that a clock can tell. */
static enum status batches(const struct timed *t, struct graph *g, int n, double *us)
{
    const struct backend *b = t->dev->backend;
    int done = 0;
    double start = clock_now(), end;
    do {
        TRY(g ? b->replay(b->queue(t->dev), g) : launches(t, n));
        TRY(tune_settle(t->dev));
        done += n;
        end = clock_now();
    } while (end - start < BATCH_SECONDS);
    *us = (end - start) * 1e6 / done;
    return OK;
}

enum status tune_time(struct device *dev, tune_launch_fn *launch, void *ctx, const void *what,
                      double *us)
{
    const struct timed t = {dev, launch, ctx, what};
    const struct backend *b = dev->backend;
    struct queue *q = b->queue(dev);
    struct graph *g = NULL;
    double start = clock_now();
    TRY(launches(&t, 1)); /* a warm-up; what is slow needs no batch */
    TRY(tune_settle(dev));
    double fit = BATCH_SECONDS / (clock_now() - start);
    int n = fit < 1 ? 1 : fit < LAUNCHES ? (int)fit : LAUNCHES;
    if (!b->capture || !b->forget || n == 1)
        return batches(&t, NULL, n, us);
    TRY(b->capture(q, true, NULL));
    enum status s = launches(&t, n), ended = b->capture(q, false, &g);
    s = s != OK ? s : ended;
    if (s == OK)
        s = batches(&t, g, n, us);
    if (g)
        b->forget(q, g);
    return s;
}
