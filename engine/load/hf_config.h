/* hf_config.h - the JSON files of a Hugging Face directory as keys: config.json under its own
 * names, objects joined by '.', and under "general.", "generation." and "tokenizer." what the
 * others say. */
#ifndef ENGINE_LOAD_HF_CONFIG_H
#define ENGINE_LOAD_HF_CONFIG_H

#include "engine/load/checkpoint.h"
#include "kernels/base/json.h"

/* Fills c->key from the files in `folder`; `*config` becomes the tree of config.json. */
enum status hf_config_read(struct checkpoint *c, const char *folder, const struct json **config);

/* A file of the directory that was opened, by its name in it; empty: there is none. */
struct bytes hf_config_file(const struct checkpoint *c, const char *name);

#endif
