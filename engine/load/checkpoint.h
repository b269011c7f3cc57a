/* checkpoint.h - a model file as keys and tensors, whatever its format: a reader fills this, and
 * hparams.c, bind.c and lexicon.c never see the format itself.
 *
 * A format is a row of the table in checkpoint.c. Everything is checked when it is opened: a tensor
 * that is listed lies wholly inside the file. Immutable and readable from any thread after that. */
#ifndef ENGINE_LOAD_CHECKPOINT_H
#define ENGINE_LOAD_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/arena.h"
#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "kernels/base/status.h"
#include "kernels/tensor.h"

enum value_kind { VALUE_BOOL, VALUE_INT, VALUE_FLOAT, VALUE_STRING, VALUE_ARRAY };

struct value {
    enum value_kind kind;
    int64_t integer; /* BOOL, INT; unsigned numbers above INT64_MAX read as INT64_MAX */
    double number;   /* BOOL, INT, FLOAT */
    struct bytes
        text; /* STRING; ARRAY: its elements as the file stores them; GGUF: a number, too */
    enum value_kind elem;
    uint32_t elem_type; /* the format's own number of the element's type, or of the number's */
    int64_t n;          /* ARRAY: elements */
};
struct ckpt_key {
    const char *name;
    struct value value;
};
struct ckpt_tensor {
    const char *name;
    int dtype;            /* enum dtype, -1: a type that is not supported here */
    uint32_t type_number; /* the format's own number, for messages */
    uint8_t ndim;
    int64_t shape[4];     /* row-major: shape[ndim - 1] is the innermost */
    size_t offset, bytes; /* in its file; of unsupported types: up to the file's end. Where `made`:
                             bytes of the result; offset and file are of its main source */
    int file;             /* index into checkpoint.file */
    const void *made;     /* not NULL: the format's `fill` makes its bytes, from this */
    float global;         /* of `made`: what all weights are multiplied by besides; 0: nothing */
    enum x_type x;        /* of `made`: what its activations are declared to be rounded to, */
    float x_scale;        /* and with which scale; 0: each row has its own */
    bool row_scale;       /* of `made`: all blocks of a row have the same scale */
    const int32_t *order; /* of `made`: [k] its column i belongs to input order[i]; NULL: to i */
};

/* Which column of the tables of hyper-parameters and weights a file's names follow. */
enum ckpt_names { NAMES_GGUF, NAMES_HF };

struct checkpoint;
struct checkpoint_format {
    const char *name;
    enum ckpt_names names;
    bool (*match)(struct bytes file);
    enum status (*read)(struct checkpoint *c); /* fills keys and tensors from c->file[0] */
    bool (*at)(const struct value *array, int64_t i, struct value *out);
    bool (*strings)(const struct value *array, struct bytes *out);
    /* The bytes of a tensor that has `made`. NULL where all lie in the file as they are used. */
    enum status (*fill)(const struct checkpoint *c, const struct ckpt_tensor *t, void *out);
    bool repeats; /* the bytes that `fill` makes mean nothing: a few rows may stand for all */
    const char *(*type_name)(uint32_t type_number);      /* of types that have no enum dtype */
    const char *(*packing)(const struct ckpt_tensor *t); /* of `made`: from what. May be NULL */
};

/* A file in memory instead of one on disk: for tests. Both outlive the checkpoint. */
struct ckpt_lent {
    const char *path;
    struct bytes bytes;
};

struct checkpoint {
    const struct checkpoint_format *format;
    const char *path;      /* as it was named, or the GGUF file in the directory that was named */
    struct file_map *file; /* the one that was named, and those it belongs with */
    char **file_path;      /* [n_files] */
    int n_files;
    const struct ckpt_lent *lent; /* NULL: files are on disk */
    int n_lent;
    int version; /* of the format */
    struct ckpt_key *key;
    struct ckpt_tensor *tensor;
    int n_keys, n_tensors;
    const struct ckpt_key **key_by_name; /* sorted */
    const struct ckpt_tensor **tensor_by_name;
    const char *refusal; /* why its weights cannot be used although it could be read, or NULL */
    bool partly;         /* for readers: what cannot be read may be left out; `refusal` says why */
    struct arena arena;  /* limited to the files' size and a constant */
};

/* `path`: a GGUF file, or a directory with one; or a Hugging Face directory, or its config.json or
 * a safetensors file in it. Errors name the file, and the key or tensor at fault. */
enum status checkpoint_open(const char *path, struct checkpoint **out);
/* To show it: of a broken or incomplete file what can be read, and in `refusal` what is wrong. */
enum status checkpoint_look(const char *path, struct checkpoint **out);
enum status checkpoint_look_at(const struct ckpt_lent *lent, int n, struct checkpoint **out);
/* checkpoint_open over files in memory; the first is opened, the others are what it may ask for. */
enum status checkpoint_borrow(const struct ckpt_lent *lent, int n, struct checkpoint **out);
void checkpoint_close(struct checkpoint *c);
/* For readers: opens one file more; it becomes c->file[c->n_files - 1]. */
enum status checkpoint_add_file(struct checkpoint *c, const char *path);
/* Is there a file of this name to be added? */
bool checkpoint_has_file(const struct checkpoint *c, const char *path);
/* A name from a file, copied: refused unless it is UTF-8 without control characters. */
enum status checkpoint_copy_name(struct checkpoint *c, struct bytes name, const char **out);
size_t checkpoint_bytes(const struct checkpoint *c); /* of all files */
/* For formats that fill `c` themselves: sorts the names, after which they can be looked up. */
enum status checkpoint_index(struct checkpoint *c);

const struct value *checkpoint_key(const struct checkpoint *c, const char *name); /* NULL: absent */
const struct ckpt_tensor *checkpoint_tensor(const struct checkpoint *c, const char *name);
/* Element i of an array of fixed-size elements; false for arrays of strings and other values. */
bool checkpoint_at(const struct checkpoint *c, const struct value *array, int64_t i,
                   struct value *out);
/* All elements of an array of strings into out[array->n]; false for anything else. */
bool checkpoint_strings(const struct checkpoint *c, const struct value *array, struct bytes *out);
/* A view of its bytes in the file (of data that `fill` makes: without). Supported types only. */
struct tensor checkpoint_view(const struct checkpoint *c, const struct ckpt_tensor *t);
/* "q4_k", or the format's own name of the type. */
const char *checkpoint_type_name(const struct checkpoint *c, const struct ckpt_tensor *t);
const char *checkpoint_formats(void); /* for messages */

#endif
