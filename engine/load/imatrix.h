/* imatrix.h - importance of the columns of weights: means of squared inputs, as llama.cpp's
 * llama-imatrix collects them, from its GGUF files or the older .dat files. */
#ifndef ENGINE_LOAD_IMATRIX_H
#define ENGINE_LOAD_IMATRIX_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#include <stdint.h>

struct imatrix;
enum status imatrix_open(const char *path, struct imatrix **out);
/* The same over bytes in memory; `path` is for messages. */
enum status imatrix_read(const char *path, struct bytes file, struct imatrix **out);
void imatrix_close(struct imatrix *m); /* NULL is fine */
/* Importance of the columns of tensor `name`: `matrices` x `columns` numbers, mean about 1, none
 * zero. NULL in *out: the file has none for it. ERR_FORMAT when it has another number of them. */
enum status imatrix_get(const struct imatrix *m, const char *name, int64_t matrices,
                        int64_t columns, const float **out);
int imatrix_entries(const struct imatrix *m);
int64_t imatrix_chunks(const struct imatrix *m); /* texts it was computed on; 0: not said */

#endif
