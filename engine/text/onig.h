/* onig.h - patterns of Oniguruma (Ruby syntax, what tokenizer.json means) in PCRE2's words. */
#ifndef ENGINE_TEXT_ONIG_H
#define ENGINE_TEXT_ONIG_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

/* Appends the translation. What is malformed but harmless is left for PCRE2 to refuse. */
enum status onig_translate(struct bytes pattern, struct buf *out);

#endif
