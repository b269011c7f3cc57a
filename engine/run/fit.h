/* fit.h - which part of a network a device takes: all of it, the last layers that were asked
 * for, or as many as it has memory for. The first layers then run on another device, a
 * synchronous one whose memory is the host's. */
#ifndef ENGINE_RUN_FIT_H
#define ENGINE_RUN_FIT_H

#include "engine/load/repack.h"
#include "engine/run/task.h"

struct gpu_layers {
    enum { GPU_LAYERS_ALL, GPU_LAYERS_AUTO, GPU_LAYERS_LAST } how;
    int last; /* so many, and the output head; more than there are: all */
};

struct fit {
    const struct task *task;
    struct model *model; /* placed on `on.dev[SIDE_UPPER]` */
    struct gpu_layers layers;
    const struct backend *lower; /* the backend of the first layers; NULL: there is none */
    struct device_options lower_options;
    struct sides on; /* [SIDE_LOWER] is opened here when it is needed; the caller closes it */
};

/* NULL or "": all; "auto"; a number. */
enum status fit_parse(const char *text, struct gpu_layers *out);
/* Places the model and plans its memory; l->cut says where the network is cut. When it does not
 * fit, the message says how many layers would. */
enum status fit_plan(struct fit *f, struct limits *l, struct need *n);

#endif
