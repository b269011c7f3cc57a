/* pack.h - the arrays of a step on their way to the device: filled on the host, uploaded in one
 * copy.
 *
 * Device addresses are fixed at open, so a captured graph can be replayed. There is one set of
 * them: the queue is in order, so an upload comes after the last step has read its own. Host
 * buffers are rings of RING, because a copy in flight still reads them. The page table is one
 * device array; a step copies what its sequences have got since the last. */
#ifndef ENGINE_RUN_PACK_H
#define ENGINE_RUN_PACK_H

#include "engine/nn/batch.h"
#include "engine/run/task.h"

struct pack_sizes {
    int rows, seqs, want, bias; /* most of each in a step */
    int slots, table_stride;
};

struct pack_arrays {                /* one set of pointers, into host or device memory */
    int32_t *live, *want_live;      /* [2], [1] */
    int32_t *token, *pos, *row_seq; /* [rows] */
    int32_t *seq_start;             /* [seqs + 1] */
    int32_t *seq_slot;              /* [seqs] */
    int32_t *want;                  /* [want] */
    struct sample_row *sample;      /* [want] */
    struct sample_bias *bias;       /* [bias] */
};

struct pack {
    struct pack_sizes max;
    size_t up_bytes; /* of one upload */
    char *host[RING], *dev;
    struct sample_out *out_host[RING], *out_dev; /* [want] */
    int32_t *table_host[RING];                   /* [slots, table_stride] staging */
    int32_t *table, *last;                       /* device [slots, table_stride], [slots] */
};

/* Device bytes that pack_open will use of the REGION_ROWS it is given. */
size_t pack_device_bytes(const struct pack_sizes *max);
void pack_open(struct pack *p, const struct pack_sizes *max, void *device);
/* The same arrays on another device, whose queue is synchronous; `with` is closed alone. */
struct pack pack_share(const struct pack *with, void *device);
void pack_close(struct pack *p);
struct pack_arrays pack_host(const struct pack *p, int ring);
struct pack_arrays pack_dev(const struct pack *p);
/* Uploads the arrays of `ring`, the first n_bias of its biases with them. */
enum status pack_upload(const struct pack *p, int ring, struct queue *q, int n_bias);
/* Uploads entries [first, n) of a slot's row of the page table; `page`: all of them. */
struct pack_pages {
    int slot, first, n;
    const int32_t *page;
};
enum status pack_table(const struct pack *p, int ring, struct queue *q,
                       const struct pack_pages *pages);
/* The results' way back: valid in out_host[ring] after the step's fence. */
enum status pack_download(const struct pack *p, int ring, struct queue *q, int n_want);

#endif
