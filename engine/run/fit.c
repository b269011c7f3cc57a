/* fit.c - see fit.h. Nothing is estimated: each cut that is tried is placed and planned in full,
 * from all layers on the device downward, which costs a fraction of a millisecond a layer. */
#include "engine/run/fit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status fit_parse(const char *text, struct gpu_layers *out)
{
    char *end;
    *out = (struct gpu_layers){.how = GPU_LAYERS_ALL};
    if (!text || !*text)
        return OK;
    if (strcmp(text, "auto") == 0) {
        out->how = GPU_LAYERS_AUTO;
        return OK;
    }
    long n = strtol(text, &end, 10);
    if (*end || n < 0 || n > 1000000)
        return fail_field(ERR_INVALID, "gpu-layers",
                          "gpu-layers is \"%.32s\": auto, or the number of layers on the GPU",
                          text);
    *out = (struct gpu_layers){GPU_LAYERS_LAST, (int)n};
    return OK;
}

/* Both devices with the network cut at l->cut, which is above 0. */
static enum status plan_cut(struct fit *f, const struct device_info *info, struct limits *l,
                            struct need *n)
{
    struct device_info lower;
    if (!f->on.dev[SIDE_LOWER])
        TRY(f->lower->open(&f->lower_options, &f->on.dev[SIDE_LOWER]));
    f->lower->info(f->on.dev[SIDE_LOWER], &lower);
    l->lower_free = lower.free_bytes;
    TRY(model_split(f->model, f->on.dev[SIDE_UPPER], f->on.dev[SIDE_LOWER], l->cut));
    return f->task->plan(f->model, info, l, n);
}

/* The least cut, above 0, at which it fits, with the whole context that was asked for. */
static enum status search(struct fit *f, const struct device_info *info, struct limits *l,
                          struct need *n)
{
    const int n_layer = f->model->net.hp.n_layer;
    enum status s = ERR_NO_MEMORY;
    for (int cut = 1; cut <= n_layer && s == ERR_NO_MEMORY; cut++) {
        struct limits try = *l;
        try.cut = cut;
        try.full_context = true;
        s = plan_cut(f, info, &try, n);
        if (s == OK)
            *l = try;
    }
    return s;
}

/* It does not fit whole: the message gains what would. */
static enum status advise(struct fit *f, const struct device_info *info, const struct limits *asked,
                          struct need *n)
{
    struct limits l = *asked;
    char why[1024];
    snprintf(why, sizeof why, "%s", fail_text());
    if (!f->lower || info->synchronous || search(f, info, &l, n) != OK)
        return fail(ERR_NO_MEMORY, "%s", why);
    return fail(ERR_NO_MEMORY, "%s; --gpu-layers %d would fit, with the first %d layers on the CPU",
                why, f->model->net.hp.n_layer - l.cut, l.cut);
}

enum status fit_plan(struct fit *f, struct limits *l, struct need *n)
{
    struct device *dev = f->on.dev[SIDE_UPPER];
    const int n_layer = f->model->net.hp.n_layer;
    const struct limits asked = *l;
    struct device_info info;
    dev->backend->info(dev, &info);
    if (info.synchronous && f->layers.how == GPU_LAYERS_LAST)
        return fail_field(ERR_INVALID, "gpu-layers", "--gpu-layers needs a GPU; this device is %s",
                          info.name);
    if (f->layers.how == GPU_LAYERS_LAST && f->layers.last < n_layer) {
        l->cut = n_layer - f->layers.last;
        return plan_cut(f, &info, l, n);
    }
    bool automatic = f->layers.how == GPU_LAYERS_AUTO && !info.synchronous;
    l->full_context = automatic;
    enum status s = f->task->plan(f->model, &info, l, n);
    if (s != ERR_NO_MEMORY)
        return s;
    *l = asked;
    if (!automatic)
        return advise(f, &info, &asked, n);
    return search(f, &info, l, n);
}
