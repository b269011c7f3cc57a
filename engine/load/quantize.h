/* quantize.h - a checkpoint written as a GGUF file in another number format.
 *
 * Rows go from the source's map through floats into the output in slices, each by one thread, so
 * memory is bounded by a few slices a thread; for sources whose tensors are made in memory, by the
 * largest tensor. The bytes do not depend on the number of threads. */
#ifndef ENGINE_LOAD_QUANTIZE_H
#define ENGINE_LOAD_QUANTIZE_H

#include <stdatomic.h>

#include "engine/load/checkpoint.h"

struct imatrix;

struct quantize_options {
    const char *type;              /* a name of mix.h */
    const struct imatrix *imatrix; /* NULL: every column counts the same */
    bool requantize;               /* blocks may be quantised again */
    bool pure;                     /* the type for all matrices, without the mix's rules */
    int threads;
    /* Called from the calling thread; `stage` is "quantizing" and so on. May be NULL. */
    void (*progress)(void *ctx, const char *stage, double done);
    /* One line about something the caller should know. May be NULL. */
    void (*note)(void *ctx, const char *line);
    void *ctx;
    const _Atomic bool *stop; /* becomes true: ERR_CANCELLED; NULL: nobody stops it */
};

struct quantize_result {
    size_t bytes_in, bytes_out; /* of the files */
    int64_t weights;            /* numbers in tensors that the type applies to */
    size_t weight_bytes;        /* what they take now */
};

/* Writes `path`, whole or not at all. Errors name the file and the tensor. */
enum status quantize_file(const struct checkpoint *c, const char *path,
                          const struct quantize_options *o, struct quantize_result *out);

#endif
