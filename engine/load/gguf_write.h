/* gguf_write.h - a GGUF file on its way out: version 3, little-endian, one file.
 *
 * Keys first, then the tensors' descriptions, then gguf_start fixes the layout and takes the room
 * on disk; after that any thread may write any part of any tensor, in any order. The file lies
 * beside its place under another name until gguf_commit gives it its own, so that whoever finds it
 * finds all of it; a writer that is dropped before leaves nothing. */
#ifndef ENGINE_LOAD_GGUF_WRITE_H
#define ENGINE_LOAD_GGUF_WRITE_H

#include "engine/load/checkpoint.h"

struct gguf_writer;

/* Makes `path` with ".partial" behind it. Errors name the file. */
enum status gguf_create(const char *path, struct gguf_writer **out);
/* A value that came from a GGUF file, its type kept. */
void gguf_put(struct gguf_writer *w, const char *key, const struct value *v);
void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_put_text(struct gguf_writer *w, const char *key, struct bytes v);
void gguf_put_f32(struct gguf_writer *w, const char *key, float v);
void gguf_put_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_put_texts(struct gguf_writer *w, const char *key, const struct bytes *v, int64_t n);
void gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, int64_t n);
void gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, int64_t n);
void gguf_put_bytes(struct gguf_writer *w, const char *key, struct bytes v); /* numbers of 8 bits */
/* Adds a tensor, row-major shape; returns its number. */
int gguf_add(struct gguf_writer *w, const char *name, enum dtype t, int ndim, const int64_t *shape);
/* No more keys and tensors: writes the header and takes the room for all tensors. */
enum status gguf_start(struct gguf_writer *w);
/* Bytes [at, at + n) of a tensor; any thread. */
enum status gguf_write(const struct gguf_writer *w, int tensor, size_t at, const void *p, size_t n);
size_t gguf_size(const struct gguf_writer *w); /* of the whole file, after gguf_start */
/* Everything is written: makes it last, and gives the file its name. */
enum status gguf_commit(struct gguf_writer *w);
/* Frees the writer; removes the file unless it was committed. NULL is fine. */
void gguf_close(struct gguf_writer *w);

#endif
