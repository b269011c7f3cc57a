/* utf8.h - checking, decoding, encoding (RFC 3629: no surrogates, no overlong forms, <= U+10FFFF).
 */
#ifndef KERNELS_BASE_UTF8_H
#define KERNELS_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length of the valid prefix of s; n when all is valid. */
size_t utf8_valid_prefix(const char *s, size_t n);
/* Decodes the character at s[0..n), n > 0. Returns its length; 1 and U+FFFD for an invalid byte. */
int utf8_decode(const char *s, size_t n, uint32_t *cp);
int utf8_encode(uint32_t cp, char out[4]);
/* How many bytes at the end of s are the start of a character that more bytes could complete. */
size_t utf8_incomplete_tail(const char *s, size_t n);

#endif
