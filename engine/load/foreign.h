/* foreign.h - what a file is that is no checkpoint, in words for whoever downloaded it. */
#ifndef ENGINE_LOAD_FOREIGN_H
#define ENGINE_LOAD_FOREIGN_H

#include <stdbool.h>

#include "kernels/base/buf.h"

struct foreign {
    const char *is;  /* "a zip archive as torch.save writes it" */
    const char *why; /* it cannot be run, and what to do */
};
/* By its first bytes; NULL: unknown. */
const struct foreign *foreign_file(struct bytes file);
/* A directory without config.json, by the names in it; NULL: unknown, or it is none. */
const struct foreign *foreign_folder(const char *path);
/* What `path` is, with what it holds where that can be told, if it is of a known kind; else false.
 * For inspect: adapters, tokenizers, importance matrices, other tools' files. */
bool foreign_describe(const char *path, struct buf *out);
/* The same of a file in memory; without the line that names it. */
bool foreign_explain(const char *path, struct bytes file, struct buf *out);

#endif
