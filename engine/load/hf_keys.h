/* hf_keys.h - the keys of a Hugging Face directory while they are collected: what its JSON files
 * say, objects joined by "."; null is as good as absent. */
#ifndef ENGINE_LOAD_HF_KEYS_H
#define ENGINE_LOAD_HF_KEYS_H

#include "engine/load/checkpoint.h"
#include "kernels/base/json.h"

struct hf_keys {
    struct checkpoint *c; /* names and arrays lie in its arena */
    struct ckpt_key *key; /* on the heap while it grows */
    int n, cap;
};

enum status hf_keys_put(struct hf_keys *k, const char *name, struct value v);
enum status hf_keys_replace(struct hf_keys *k, const char *name, struct value v);
void hf_keys_drop(struct hf_keys *k, const char *name);
/* `v` under `name` and, of objects, all below it. */
enum status hf_keys_flatten(struct hf_keys *k, const char *name, const struct json *v);
struct ckpt_key *hf_keys_find(const struct hf_keys *k, const char *name); /* or NULL */
double hf_keys_number(const struct hf_keys *k, const char *name, double absent);

struct value hf_number(double v);
struct value hf_string(struct bytes text);

/* Arrays of such keys, see struct checkpoint_format. */
bool hf_keys_at(const struct value *array, int64_t i, struct value *out);
bool hf_keys_strings(const struct value *array, struct bytes *out);

/* hf_settle.c: the keys of config.json, which are there, become what holds for the network. */
enum status hf_settle(struct hf_keys *k, const struct json *config);

#endif
