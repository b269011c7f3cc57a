/* gguf_write.c - see gguf_write.h; the layout is described in gguf.c.
 *
 * The room is taken before the first tensor is computed: a full disk is known at once and not after
 * an hour. The unfinished file is locked, so that two runs cannot write the same one; what a killed
 * run left behind is written over by the next. */
#include "engine/load/gguf_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/load/gguf.h"

enum { VERSION = 3, ALIGNMENT = 32 };

struct out_tensor {
    size_t at, bytes; /* in the data */
};

struct gguf_writer {
    char *path, *partial;
    int fd;
    bool committed;
    struct buf keys, tensors;
    uint64_t n_keys, n_tensors;
    struct out_tensor *tensor;
    size_t data, size; /* where the data begins, bytes of the data */
};

static enum status io_error(const char *path, const char *what)
{
    int e = errno;

    return fail(ERR_IO, "%s: cannot %s: %s", path, what, strerror(e));
}

/* Another run may have given the file its final name between our opening and our lock. */
static bool still_named(const struct gguf_writer *w)
{
    struct stat open_file, named;

    return fstat(w->fd, &open_file) == 0 && stat(w->partial, &named) == 0 &&
           open_file.st_ino == named.st_ino;
}

enum status gguf_create(const char *path, struct gguf_writer **out)
{
    struct gguf_writer *w;
    struct stat st;
    struct buf name = {0};

    *out = NULL;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fail(ERR_INVALID, "%s: is no file that could be replaced", path);
    buf_printf(&name, "%s.partial", path);
    w = xcalloc(1, sizeof *w);
    w->path = xstrdup(path);
    w->partial = name.data;
    w->fd = open(w->partial, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        enum status s = io_error(w->partial, "create it");

        w->committed = true; /* there is nothing to remove */
        gguf_close(w);
        return s;
    }
    if (flock(w->fd, LOCK_EX | LOCK_NB) != 0 || !still_named(w)) {
        w->committed = true; /* it is another's */
        gguf_close(w);
        return fail(ERR_INVALID, "%s: is being written by another run", path);
    }
    *out = w;
    return OK;
}

/* ---- header ---------------------------------------------------------------------------------- */

static void add_u32(struct buf *b, uint32_t v)
{
    buf_append(b, &v, sizeof v);
}

static void add_u64(struct buf *b, uint64_t v)
{
    buf_append(b, &v, sizeof v);
}

static void add_text(struct buf *b, struct bytes v)
{
    add_u64(b, v.n);
    buf_append(b, v.p, v.n);
}

static void add_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
    add_text(&w->keys, bytes_of(key));
    add_u32(&w->keys, type);
    w->n_keys++;
}

static void add_array(struct gguf_writer *w, const char *key, enum gguf_type type, int64_t n)
{
    add_key(w, key, GGUF_ARRAY);
    add_u32(&w->keys, type);
    add_u64(&w->keys, (uint64_t)n);
}

void gguf_put(struct gguf_writer *w, const char *key, const struct value *v)
{
    if (v->kind == VALUE_STRING) {
        gguf_put_text(w, key, v->text);
    } else if (v->kind != VALUE_ARRAY) {
        add_key(w, key, (enum gguf_type)v->elem_type);
        buf_append(&w->keys, v->text.p, v->text.n);
    } else {
        add_array(w, key, (enum gguf_type)v->elem_type, v->n);
        buf_append(&w->keys, v->text.p, v->text.n);
    }
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t v)
{
    add_key(w, key, GGUF_U32);
    add_u32(&w->keys, v);
}

void gguf_put_text(struct gguf_writer *w, const char *key, struct bytes v)
{
    add_key(w, key, GGUF_STRING);
    add_text(&w->keys, v);
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float v)
{
    add_key(w, key, GGUF_F32);
    buf_append(&w->keys, &v, sizeof v);
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool v)
{
    add_key(w, key, GGUF_BOOL);
    buf_putc(&w->keys, (char)v);
}

void gguf_put_texts(struct gguf_writer *w, const char *key, const struct bytes *v, int64_t n)
{
    add_array(w, key, GGUF_STRING, n);
    for (int64_t i = 0; i < n; i++)
        add_text(&w->keys, v[i]);
}

void gguf_put_i32s(struct gguf_writer *w, const char *key, const int32_t *v, int64_t n)
{
    add_array(w, key, GGUF_I32, n);
    buf_append(&w->keys, v, (size_t)n * sizeof *v);
}

void gguf_put_f32s(struct gguf_writer *w, const char *key, const float *v, int64_t n)
{
    add_array(w, key, GGUF_F32, n);
    buf_append(&w->keys, v, (size_t)n * sizeof *v);
}

void gguf_put_bytes(struct gguf_writer *w, const char *key, struct bytes v)
{
    add_array(w, key, GGUF_U8, (int64_t)v.n);
    buf_append(&w->keys, v.p, v.n);
}

static size_t align_up(size_t n)
{
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

int gguf_add(struct gguf_writer *w, const char *name, enum dtype t, int ndim, const int64_t *shape)
{
    const struct dtype_info *d = dtype_info(t);
    int64_t n = 1;

    add_text(&w->tensors, bytes_of(name));
    add_u32(&w->tensors, (uint32_t)ndim);
    for (int i = ndim - 1; i >= 0; i--) {
        add_u64(&w->tensors, (uint64_t)shape[i]);
        n *= shape[i];
    }
    add_u32(&w->tensors, (uint32_t)d->gguf);
    add_u64(&w->tensors, w->size);
    w->tensor = xrealloc(w->tensor, (size_t)(w->n_tensors + 1) * sizeof *w->tensor);
    w->tensor[w->n_tensors] =
        (struct out_tensor){w->size, (size_t)(n / d->block) * (size_t)d->bytes};
    w->size = align_up(w->size + w->tensor[w->n_tensors].bytes);
    return (int)w->n_tensors++;
}

/* ---- data ------------------------------------------------------------------------------------ */

static enum status write_at(const struct gguf_writer *w, size_t at, const void *p, size_t n)
{
    const char *from = p;

    while (n > 0) {
        ssize_t done = pwrite(w->fd, from, n, (off_t)at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return io_error(w->path, "write it");
        from += done;
        at += (size_t)done;
        n -= (size_t)done;
    }
    return OK;
}

enum status gguf_start(struct gguf_writer *w)
{
    struct buf head = {0};
    enum status s = OK;
    int e;

    buf_puts(&head, "GGUF");
    add_u32(&head, VERSION);
    add_u64(&head, w->n_tensors);
    add_u64(&head, w->n_keys);
    buf_append(&head, w->keys.data, w->keys.len);
    buf_append(&head, w->tensors.data, w->tensors.len);
    w->data = align_up(head.len);
    if (ftruncate(w->fd, 0) != 0)
        s = io_error(w->path, "write it");
    if (s == OK && (e = posix_fallocate(w->fd, 0, (off_t)(w->data + w->size))) != 0) {
        errno = e;
        s = io_error(w->path, "take room for it");
        fail_in(s, "%.1f MiB are needed", (double)(w->data + w->size) / (1 << 20));
    }
    if (s == OK)
        s = write_at(w, 0, head.data, head.len);
    buf_clear(&head);
    return s;
}

size_t gguf_size(const struct gguf_writer *w)
{
    return w->data + w->size;
}

enum status gguf_write(const struct gguf_writer *w, int tensor, size_t at, const void *p, size_t n)
{
    const struct out_tensor *t = &w->tensor[tensor];

    if (at > t->bytes || n > t->bytes - at)
        return fail(ERR_INTERNAL, "%s: %zu bytes at %zu do not lie in the tensor's %zu", w->path, n,
                    at, t->bytes);
    return write_at(w, w->data + t->at + at, p, n);
}

/* A rename lasts once the folder that has the name is on disk. */
static enum status sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum status s = OK;

    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL)) /* some file systems cannot */
        s = io_error(folder, "sync it");
    if (fd >= 0)
        close(fd);
    xfree(folder);
    return s;
}

enum status gguf_commit(struct gguf_writer *w)
{
    if (fsync(w->fd) != 0)
        return io_error(w->path, "write it");
    if (rename(w->partial, w->path) != 0)
        return io_error(w->path, "give the file its name");
    w->committed = true;
    return sync_folder(w->path);
}

void gguf_close(struct gguf_writer *w)
{
    if (!w)
        return;
    if (!w->committed)
        unlink(w->partial);
    if (w->fd >= 0)
        close(w->fd);
    buf_clear(&w->keys);
    buf_clear(&w->tensors);
    xfree(w->tensor);
    xfree(w->partial);
    xfree(w->path);
    xfree(w);
}
