/* charsmap.h - SentencePiece's compiled normalisation table ("precompiled_charsmap"). Internal to
 * the tokenizers. */
#ifndef ENGINE_TEXT_CHARSMAP_H
#define ENGINE_TEXT_CHARSMAP_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

struct charsmap; /* immutable */
/* `table` as the files have it (not base64). Copied and checked. */
enum status charsmap_new(struct bytes table, struct charsmap **out);
void charsmap_free(struct charsmap *m);
void charsmap_apply(const struct charsmap *m, struct bytes text, struct buf *out);

#endif
