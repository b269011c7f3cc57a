/* jinja_filters.h - filters and tests by name. The tables of text filters, of sequence filters, of
 * generators and of tests lie in their own files; jinja_filters.c has the rest and looks up. */
#ifndef ENGINE_TEXT_JINJA_FILTERS_H
#define ENGINE_TEXT_JINJA_FILTERS_H

#include "engine/text/jinja_value.h"

const struct jfunc *jf_filter(const char *name, size_t n); /* NULL: no such filter */
const struct jfunc *jf_test(const char *name, size_t n);

/* One table; ends with a row without a name. */
extern const struct jfunc jf_text_filters[];
extern const struct jfunc jf_sequence_filters[];
extern const struct jfunc jf_lazy_filters[];

const struct jfunc *jf_find(const struct jfunc *table, const char *name, size_t n);

/* json.dumps; arguments as in jinja_tojson.c. */
struct jval jf_tojson(struct jinja *j, struct jval v, const struct jargs *a);
struct jval jf_pprint(struct jinja *j, struct jval v, const struct jargs *a);
struct jval jf_striptags(struct jinja *j, struct jval v, const struct jargs *a);
struct jval jf_urlize(struct jinja *j, struct jval v, const struct jargs *a);
struct jval jf_wordwrap(struct jinja *j, struct jval v, const struct jargs *a);

/* How filters look at an item: follows "a.b.0" (or takes the item itself), then lowers text. */
enum { JF_PARTS = 16 };
struct jgetter {
    struct jval part[JF_PARTS];
    int n;
    struct jval absent; /* in place of undefined; none: keep */
    bool lower;
};
struct jgetter jf_getter(struct jinja *j, struct jval attribute, struct jval absent, bool lower);
struct jval jf_get(struct jinja *j, const struct jgetter *g, struct jval item);
struct jval jf_ignore_case(struct jinja *j, struct jval v, bool lower);

#endif
