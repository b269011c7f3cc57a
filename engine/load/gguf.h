/* gguf.h - the GGUF file format, versions 2 and 3, little-endian, one file. */
#ifndef ENGINE_LOAD_GGUF_H
#define ENGINE_LOAD_GGUF_H

#include "engine/load/checkpoint.h"

enum gguf_type { /* of values; numbers of the format */
                 GGUF_U8,
                 GGUF_I8,
                 GGUF_U16,
                 GGUF_I16,
                 GGUF_U32,
                 GGUF_I32,
                 GGUF_F32,
                 GGUF_BOOL,
                 GGUF_STRING,
                 GGUF_ARRAY,
                 GGUF_U64,
                 GGUF_I64,
                 GGUF_F64,
                 N_GGUF_TYPE
};
size_t gguf_type_bytes(enum gguf_type t); /* of a number; 0: a string or an array */

extern const struct checkpoint_format gguf_format;

#endif
