/* gguf.h - the GGUF file format, versions 2 and 3, little-endian, one file. */
#ifndef ENGINE_LOAD_GGUF_H
#define ENGINE_LOAD_GGUF_H

#include "engine/load/checkpoint.h"

extern const struct checkpoint_format gguf_format;

#endif
