/* backend.c - which backends this build has. The only place that knows them by name. */
#include "kernels/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/log.h"

/* Those a user can compute on, best first; NULL where the build left one out. The null backend only
 * plans; whoever plans names it directly. */
static const struct backend *const backends[] = {&backend_cuda, &backend_cpu};

enum { N_BACKEND = sizeof backends / sizeof backends[0] };

/* OK if a model can run on it: a device that opens, and every op that is not composed of others. */
static enum status usable(const struct backend *b, int index, struct device_info *info)
{
    struct device_options o = {.index = index, .cublaslt = "none"};
    struct device *dev;
    if (!b->ops.linear || !b->ops.attention)
        return fail(ERR_UNSUPPORTED, "%s: this build lacks op %s", b->name,
                    op_name(b->ops.linear ? OP_attention : OP_linear));
    TRY(b->open(&o, &dev));
    b->info(dev, info);
    b->close(dev);
    return OK;
}

/* The first of its devices that works; a line says which, and why not one before it. `why` gets the
 * first one's reason where none does. */
static enum status first_of(const struct backend *b, int *index, char *why, size_t n)
{
    struct device_info info;
    enum status s = usable(b, 0, &info);
    if (s != OK)
        snprintf(why, n, "%s", fail_text());
    for (*index = 0; s != OK && *index + 1 < b->count();)
        s = usable(b, ++*index, &info);
    if (s == OK)
        log_info("device auto: %s:%d, %s (%s)", b->name, *index, info.name,
                 *index ? why : "the first GPU");
    return s;
}

/* The best that works; the last is always there. */
static enum status choose(const struct backend **out, int *index)
{
    char why[512] = "this build has no other";
    for (int i = 0; i < N_BACKEND - 1; i++)
        if (backends[i] && first_of(backends[i], index, why, sizeof why) == OK) {
            *out = backends[i];
            return OK;
        }
    *index = 0;
    *out = backends[N_BACKEND - 1];
    log_info("device auto: %s (%s)", (*out)->name, why);
    return OK;
}

enum status backend_find(const char *name, const struct backend **out, int *index)
{
    *index = 0;
    if (!name || strcmp(name, "auto") == 0)
        return choose(out, index);
    size_t n = strcspn(name, ":");
    char *end = "";
    long at = name[n] ? strtol(name + n + 1, &end, 10) : 0;
    for (int i = 0; i < N_BACKEND; i++) {
        const struct backend *b = backends[i];
        if (!b || strlen(b->name) != n || strncmp(b->name, name, n) != 0)
            continue;
        if (*end || (name[n] && !name[n + 1]) || at < 0 || at > 1023)
            return fail(ERR_INVALID, "device \"%s\": after %s: comes its number", name, b->name);
        *index = (int)at;
        *out = b;
        return OK;
    }
    if (!backends[0])
        return fail(ERR_UNSUPPORTED, "device \"%s\": this build has auto and cpu%s", name,
                    strncmp(name, "cuda", 4) == 0 ? "; make CUDA=1 builds for NVIDIA GPUs" : "");
    return fail(ERR_UNSUPPORTED, "device \"%s\": this build has auto, cuda, cuda:N and cpu", name);
}
