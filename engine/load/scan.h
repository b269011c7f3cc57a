/* scan.h - reads JSON text from left to right without a tree: for headers whose shape is known and
 * whose size a file decides (safetensors, its index). Costs no memory at all.
 *
 * It takes a subset: strings that are handed out have no escapes. Errors are ERR_FORMAT with the
 * byte at fault. */
#ifndef ENGINE_LOAD_SCAN_H
#define ENGINE_LOAD_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

struct scan { /* {text, length}, the rest zero, is ready */
    const char *p;
    size_t n, at;
};

/* Skips blanks; takes `c` when it comes next. */
bool scan_take(struct scan *s, char c);
enum status scan_expect(struct scan *s, char c);
enum status scan_string(struct scan *s, struct bytes *out);
enum status scan_count(struct scan *s, uint64_t *out); /* a whole number, 0 .. 2^63 - 1 */
enum status scan_skip(struct scan *s);                 /* any value */
enum status scan_end(struct scan *s);                  /* only blanks are left */

/* Walks an object or array: is there one more item behind the first `n`? Takes the comma, or
 * `close`. */
enum status scan_next(struct scan *s, char close, int64_t n, bool *more);
/* "key": in front of a member's value. */
enum status scan_key(struct scan *s, struct bytes *key);

#endif
