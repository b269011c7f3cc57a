/* map.h - hash map from byte strings to int32. Keys are copied into the map. Open addressing with a
 * keyed hash, so that a client cannot choose collisions. Many readers, or one writer. */
#ifndef KERNELS_BASE_MAP_H
#define KERNELS_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map;
struct map *map_new(size_t expected);
void map_free(struct map *m);
/* Adds or replaces. Returns the value that stood there before, or `missing`. */
int32_t map_put(struct map *m, const void *key, size_t n, int32_t value, int32_t missing);
int32_t map_get(const struct map *m, const void *key, size_t n, int32_t missing);
size_t map_count(const struct map *m);

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed); /* 64-bit, not cryptographic */

#endif
