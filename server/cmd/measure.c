/* measure.c - see measure.h. */
#include "server/cmd/measure.h"

#include "kernels/base/mem.h"

enum { TEXT_MOST = 1 << 30 };

static void show(void *ctx, const char *stage, double done)
{
    work_show(&((struct measure *)ctx)->work, stage, done);
}

static enum status run(void *ctx)
{
    struct measure *m = ctx;
    char *text;
    size_t n;
    enum status s;

    TRY(file_read(m->c->text, TEXT_MOST, &text, &n));
    m->o.text = (struct bytes){text, n};
    s = perplexity_run(&m->o, &m->result);
    xfree(text);
    return s;
}

void measure_init(struct measure *m, const struct config *c)
{
    *m = (struct measure){
        .c = c,
        .work = {.run = run, .ctx = m},
        .o = {.model = {.path = c->model,
                        .kv_type = c->kv_type,
                        .isa = c->isa,
                        .activations = c->activations,
                        .threads = (int)c->threads,
                        .window = (int)c->ctx},
              .windows = c->chunks,
              .stop = &m->work.stop,
              .progress = show,
              .ctx = m},
    };
}

enum status measure_run(struct measure *m)
{
    return work_run(&m->work);
}
