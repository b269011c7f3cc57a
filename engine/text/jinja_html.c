/* jinja_html.c - the filters striptags and urlize, as MarkupSafe and Jinja2 have them.
 *
 * striptags replaces the character references that have numbers and HTML 4's names; the other 1900
 * names of HTML 5 stay as they are. */
#include <stdlib.h>
#include <string.h>

#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_filters.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_repr.h"
#include "engine/text/jinja_str.h"
#include "engine/text/regex.h"
#include "kernels/base/utf8.h"

/* HTML 4's names with their characters; those of Latin-1 count without ";" too. */
static const char latin_names[] =
    "AElig 198 Aacute 193 Acirc 194 Agrave 192 Aring 197 Atilde 195 Auml 196 Ccedil 199 ETH "
    "208 Eacute 201 Ecirc 202 Egrave 200 Euml 203 Iacute 205 Icirc 206 Igrave 204 Iuml 207 "
    "Ntilde 209 Oacute 211 Ocirc 212 Ograve 210 Oslash 216 Otilde 213 Ouml 214 THORN 222 "
    "Uacute 218 Ucirc 219 Ugrave 217 Uuml 220 Yacute 221 aacute 225 acirc 226 acute 180 "
    "aelig 230 agrave 224 amp 38 aring 229 atilde 227 auml 228 brvbar 166 ccedil 231 cedil "
    "184 cent 162 copy 169 curren 164 deg 176 divide 247 eacute 233 ecirc 234 egrave 232 "
    "eth 240 euml 235 frac12 189 frac14 188 frac34 190 gt 62 iacute 237 icirc 238 iexcl 161 "
    "igrave 236 iquest 191 iuml 239 laquo 171 lt 60 macr 175 micro 181 middot 183 nbsp 160 "
    "not 172 ntilde 241 oacute 243 ocirc 244 ograve 242 ordf 170 ordm 186 oslash 248 otilde "
    "245 ouml 246 para 182 plusmn 177 pound 163 quot 34 raquo 187 reg 174 sect 167 shy 173 "
    "sup1 185 sup2 178 sup3 179 szlig 223 thorn 254 times 215 uacute 250 ucirc 251 ugrave "
    "249 uml 168 uuml 252 yacute 253 yen 165 yuml 255";
static const char other_names[] =
    "Alpha 913 Beta 914 Chi 935 Dagger 8225 Delta 916 Epsilon 917 Eta 919 Gamma 915 Iota "
    "921 Kappa 922 Lambda 923 Mu 924 Nu 925 OElig 338 Omega 937 Omicron 927 Phi 934 Pi 928 "
    "Prime 8243 Psi 936 Rho 929 Scaron 352 Sigma 931 Tau 932 Theta 920 Upsilon 933 Xi 926 "
    "Yuml 376 Zeta 918 alefsym 8501 alpha 945 and 8743 ang 8736 asymp 8776 bdquo 8222 beta "
    "946 bull 8226 cap 8745 chi 967 circ 710 clubs 9827 cong 8773 crarr 8629 cup 8746 dArr "
    "8659 dagger 8224 darr 8595 delta 948 diams 9830 empty 8709 emsp 8195 ensp 8194 epsilon "
    "949 equiv 8801 eta 951 euro 8364 exist 8707 fnof 402 forall 8704 frasl 8260 gamma 947 "
    "ge 8805 hArr 8660 harr 8596 hearts 9829 hellip 8230 image 8465 infin 8734 int 8747 "
    "iota 953 isin 8712 kappa 954 lArr 8656 lambda 955 lang 9001 larr 8592 lceil 8968 ldquo "
    "8220 le 8804 lfloor 8970 lowast 8727 loz 9674 lrm 8206 lsaquo 8249 lsquo 8216 mdash "
    "8212 minus 8722 mu 956 nabla 8711 ndash 8211 ne 8800 ni 8715 notin 8713 nsub 8836 nu "
    "957 oelig 339 oline 8254 omega 969 omicron 959 oplus 8853 or 8744 otimes 8855 part "
    "8706 permil 8240 perp 8869 phi 966 pi 960 piv 982 prime 8242 prod 8719 prop 8733 psi "
    "968 rArr 8658 radic 8730 rang 9002 rarr 8594 rceil 8969 rdquo 8221 real 8476 rfloor "
    "8971 rho 961 rlm 8207 rsaquo 8250 rsquo 8217 sbquo 8218 scaron 353 sdot 8901 sigma 963 "
    "sigmaf 962 sim 8764 spades 9824 sub 8834 sube 8838 sum 8721 sup 8835 supe 8839 tau 964 "
    "there4 8756 theta 952 thetasym 977 thinsp 8201 tilde 732 trade 8482 uArr 8657 uarr "
    "8593 upsih 978 upsilon 965 weierp 8472 xi 958 zeta 950 zwj 8205 zwnj 8204";

/* --- striptags --- */

/* Text without comments and tags, up to the first that does not end. */
static struct jval drop_tags(struct jinja *j, struct jval v)
{
    const struct jstr *s = v.s;
    size_t mark = j->out->len, at = 0;
    for (;;) {
        const char *from = memchr(s->p + at, '<', s->n - at), *to = NULL;
        size_t begin = from ? (size_t)(from - s->p) : s->n, left = s->n - begin;
        bool comment = left >= 4 && memcmp(from, "<!--", 4) == 0;
        if (comment)
            to = memmem(from + 4, left - 4, "-->", 3);
        else if (from)
            to = memchr(from, '>', left);
        if (!to) {
            jinja_write(j, s->p + at, s->n - at);
            return jx_capture(j, mark);
        }
        jinja_write(j, s->p + at, begin - at);
        at = (size_t)(to - s->p) + (comment ? 3 : 1);
    }
}

/* The character of a name, 0: unknown. */
static uint32_t find_name(const char *names, const char *name, size_t n)
{
    for (const char *p = names; *p;) {
        size_t k = strcspn(p, " ");
        uint32_t cp = (uint32_t)strtoul(p + k, NULL, 10);
        if (k == n && memcmp(p, name, n) == 0)
            return cp;
        p += k + 1;
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    return 0;
}

static void put_char(struct jinja *j, uint32_t cp)
{
    char utf8[4];
    jinja_write(j, utf8, (size_t)utf8_encode(cp, utf8));
}

/* A number's character: HTML's replacements for what is none, nothing for what must not be. */
static void put_number(struct jinja *j, uint64_t n)
{
    static const uint16_t cp1252[32] = {
        0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,
        0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};
    if (n == 0 || (n >= 0xd800 && n < 0xe000) || n > 0x10ffff) {
        put_char(j, 0xfffd);
        return;
    }
    if (n >= 0x80 && n < 0xa0) {
        put_char(j, cp1252[n - 0x80]);
        return;
    }
    bool forbidden = n < 9 || n == 0xb || (n >= 0xe && n < 0x20) || n == 0x7f ||
                     (n >= 0xfdd0 && n <= 0xfdef) || (n & 0xfffe) == 0xfffe;
    if (!forbidden)
        put_char(j, (uint32_t)n);
}

/* "&#..." at p[0..n), the ampersand first; how many bytes it takes, 0: none. */
static size_t put_numeric(struct jinja *j, const char *p, size_t n)
{
    bool hex = n > 2 && (p[2] | 32) == 'x';
    const char *digits = hex ? "0123456789abcdefABCDEF" : "0123456789";
    size_t from = hex ? 3 : 2, i = from;
    uint64_t value = 0;
    for (; i < n && p[i] && strchr(digits, p[i]); i++) {
        int d = p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10;
        value = value > 0x10ffff ? value : value * (hex ? 16 : 10) + (uint64_t)d;
    }
    if (i == from)
        return 0;
    put_number(j, value);
    return i + (i < n && p[i] == ';');
}

/* "&name;", or a name of Latin-1 that something else follows. */
static size_t put_named(struct jinja *j, const char *p, size_t n)
{
    size_t i = 1;
    uint32_t cp = 0;
    while (i < n && i <= 32 && !(p[i] && strchr("\t\n\f <&#;", p[i])))
        i++;
    if (i < n && p[i] == ';') {
        cp = find_name(latin_names, p + 1, i - 1);
        cp = cp ? cp : find_name(other_names, p + 1, i - 1);
        i += cp != 0;
    }
    for (; !cp && i > 2; i--)
        if ((cp = find_name(latin_names, p + 1, i - 1)))
            break;
    if (cp)
        put_char(j, cp);
    return cp ? i : 0;
}

static struct jval unescape(struct jinja *j, struct jval v)
{
    const struct jstr *s = v.s;
    size_t mark = j->out->len;
    for (size_t at = 0; at < s->n;) {
        const char *amp = memchr(s->p + at, '&', s->n - at);
        size_t end = amp ? (size_t)(amp - s->p) : s->n, took = 0, left = s->n - end;
        jinja_write(j, s->p + at, end - at);
        at = end;
        if (!amp)
            break;
        jinja_charge(j, 64);
        if (left > 1)
            took = amp[1] == '#' ? put_numeric(j, amp, left) : put_named(j, amp, left);
        if (!took)
            jinja_write(j, "&", 1);
        at += took ? took : 1;
    }
    return jx_capture(j, mark);
}

struct jval jf_striptags(struct jinja *j, struct jval v, const struct jargs *a)
{
    (void)a;
    v = jr_str(j, v);
    jinja_charge(j, v.s->n / 8);
    const struct jlist *l = js_split(j, drop_tags(j, v), NULL, -1, false).l;
    size_t mark = j->out->len;
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            jinja_write(j, " ", 1);
        jinja_write(j, l->v[i].s->p, l->v[i].s->n);
    }
    return unescape(j, jx_capture(j, mark));
}

/* --- urlize --- */

static const char address[] =
    "\\A(?i:(?:https?://"
    "|www\\.)(?:(?:[\\p{L}\\p{N}_%-]+\\.)+)?(?:[a-z]{2,63}|xn--[\\p{L}\\p{N}_%]{2,59})"
    "|(?:[\\p{L}\\p{N}_%-]{2,63}\\.)+(?:com|net|int|edu|gov|org|info|mil)"
    "|https?://(?:\\p{Nd}{1,3}(?:\\.\\p{Nd}{1,3}){3}"
    "|\\[(?:[\\p{Nd}a-f]{0,4}:){2}(?:[\\p{Nd}a-f]{0,4}:?){1,6}\\]))"
    "(?::\\p{Nd}{1,5})?(?:[/?#]\\S*)?\\z";
static const char mail[] = "\\A\\S+@[\\p{L}\\p{N}_][\\p{L}\\p{N}_.-]*\\.[\\p{L}\\p{N}_]+\\z";

/* Never raises while the matcher lives. */
static bool matches(struct jinja *j, const char *pattern, struct bytes text)
{
    struct regex *r;
    size_t begin, end;
    jinja_charge(j, 200 + text.n);
    if (regex_new(bytes_of(pattern), &r) != OK)
        jinja_raise(j, "%s", fail_text());
    struct regex_work *w = regex_work_new();
    bool found = regex_find(r, w, text, 0, &begin, &end);
    regex_work_free(w);
    regex_free(r);
    return found;
}

static bool begins(struct bytes s, const char *with)
{
    return s.n >= strlen(with) && memcmp(s.p, with, strlen(with)) == 0;
}

static bool ends(struct bytes s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && memcmp(s.p + s.n - n, with, n) == 0;
}

static size_t count(struct bytes s, const char *what)
{
    size_t n = 0, k = strlen(what);
    for (size_t i = 0; i + k <= s.n;) {
        bool here = memcmp(s.p + i, what, k) == 0;
        n += here;
        i += here ? k : 1;
    }
    return n;
}

/* What stands before the address in a word, itself, and behind it. */
struct word {
    size_t begin, end; /* of the middle */
};

static struct word take_apart(struct bytes s)
{
    static const char *const pair[][2] = {{"(", ")"}, {"<", ">"}, {"&lt;", "&gt;"}};
    static const char *const tails[] = {")", ">", ".", ",", "\n", "&gt;"};
    struct word w = {0, s.n};
    for (size_t k; w.begin < s.n; w.begin += k) {
        struct bytes rest = {s.p + w.begin, s.n - w.begin};
        k = begins(rest, "(") || begins(rest, "<") ? 1 : begins(rest, "&lt;") ? 4 : 0;
        if (!k)
            break;
    }
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < sizeof tails / sizeof tails[0] && !more; i++) {
            struct bytes middle = {s.p + w.begin, w.end - w.begin};
            if (ends(middle, tails[i])) {
                w.end -= strlen(tails[i]);
                more = true;
            }
        }
    }
    for (int i = 0; i < 3; i++) { /* as many back as keep the brackets in balance */
        struct bytes middle = {s.p + w.begin, w.end - w.begin}, tail = {s.p + w.end, s.n - w.end};
        size_t opened = count(middle, pair[i][0]), closed = count(tail, pair[i][1]);
        if (opened <= count(middle, pair[i][1]))
            continue;
        for (size_t n = opened < closed ? opened : closed; n > 0; n--) {
            const char *p = memmem(s.p + w.end, s.n - w.end, pair[i][1], strlen(pair[i][1]));
            w.end = (size_t)(p - s.p) + strlen(pair[i][1]);
        }
    }
    return w;
}

struct urlize {
    struct jinja *j;
    int64_t limit; /* of what a link shows, -1: none */
    struct jval attributes;
    const struct jlist *schemes; /* or NULL */
};

static void put(struct jinja *j, const char *s)
{
    jinja_write(j, s, strlen(s));
}

static void put_bytes(struct jinja *j, struct bytes s)
{
    jinja_write(j, s.p, s.n);
}

static void put_link(const struct urlize *u, const char *scheme, struct bytes to,
                     struct bytes shown, bool attributes)
{
    put(u->j, "<a href=\"");
    put(u->j, scheme);
    put_bytes(u->j, to);
    put(u->j, "\"");
    if (attributes)
        jinja_write(u->j, u->attributes.s->p, u->attributes.s->n);
    put(u->j, ">");
    put_bytes(u->j, shown);
}

static void put_address(const struct urlize *u, struct bytes s)
{
    bool whole = begins(s, "https://") || begins(s, "http://");
    struct bytes shown = s;
    bool trim = u->limit >= 0 && (int64_t)js_count(s.p, s.n) > u->limit;
    if (trim) {
        shown.n = 0;
        for (int64_t i = 0; i < u->limit; i++)
            shown.n += js_char_bytes(s.p, s.n, shown.n);
    }
    put_link(u, whole ? "" : "https://", s, shown, true);
    put(u->j, trim ? "...</a>" : "</a>");
}

/* The last scheme that fits; each link would be made of the one before, which then fits no more. */
static bool put_scheme(const struct urlize *u, struct bytes s)
{
    for (size_t i = 0; u->schemes && i < u->schemes->n; i++) {
        const struct jstr *scheme = u->schemes->v[i].s;
        if (s.n > scheme->n && memcmp(s.p, scheme->p, scheme->n) == 0) {
            put_link(u, "", s, s, true);
            put(u->j, "</a>");
            return true;
        }
    }
    return false;
}

static void put_middle(const struct urlize *u, struct bytes s)
{
    bool at = memchr(s.p, '@', s.n) != NULL, colon = memchr(s.p, ':', s.n) != NULL;
    if (memchr(s.p, '.', s.n) || begins(s, "http") || begins(s, "HTTP") || colon)
        if (matches(u->j, address, s)) {
            put_address(u, s);
            return;
        }
    struct bytes rest = {s.p + 7, s.n - 7};
    if (begins(s, "mailto:") && matches(u->j, mail, rest)) {
        put_link(u, "", s, rest, false);
        put(u->j, "</a>");
    } else if (at && !begins(s, "www.") && s.p[0] != '@' && !colon && matches(u->j, mail, s)) {
        put_link(u, "mailto:", s, s, false);
        put(u->j, "</a>");
    } else if (!put_scheme(u, s)) {
        put_bytes(u->j, s);
    }
}

static void put_words(const struct urlize *u, const struct jstr *s)
{
    for (size_t at = 0, end; at < s->n; at = end) {
        uint32_t cp;
        end = at + (size_t)utf8_decode(s->p + at, s->n - at, &cp);
        if (js_is(cp, JCLASS_SPACE)) {
            jinja_write(u->j, s->p + at, end - at);
            continue;
        }
        for (size_t k; end < s->n; end += k) {
            k = (size_t)utf8_decode(s->p + end, s->n - end, &cp);
            if (js_is(cp, JCLASS_SPACE))
                break;
        }
        struct bytes word = {s->p + at, end - at};
        struct word w = take_apart(word);
        jinja_charge(u->j, 1 + word.n / 4);
        jinja_write(u->j, word.p, w.begin);
        if (w.end > w.begin)
            put_middle(u, (struct bytes){word.p + w.begin, w.end - w.begin});
        jinja_write(u->j, word.p + w.end, word.n - w.end);
    }
}

/* rel="..." of the sorted parts, each once: those given, nofollow, and noopener by policy. */
static void put_rel(struct jinja *j, struct jval rel, bool nofollow)
{
    struct jval parts = jv_list(j, JV_LIST, 4);
    if (rel.type == JV_STR) {
        const struct jlist *given = js_split(j, rel, NULL, -1, false).l;
        for (size_t i = 0; i < given->n; i++)
            jv_push(j, parts, given->v[i]);
    }
    if (nofollow)
        jv_push(j, parts, jv_text(j, "nofollow"));
    jv_push(j, parts, jv_text(j, "noopener"));
    struct jval last = jv_missing();
    put(j, " rel=\"");
    for (size_t n = parts.l->n; n > 0; n--) { /* the smallest that is larger than the last */
        struct jval next = jv_missing();
        for (size_t i = 0; i < parts.l->n; i++) {
            struct jval v = parts.l->v[i];
            bool larger = last.type == JV_MISSING || jv_compare(j, v, last, "<") > 0;
            if (larger && (next.type == JV_MISSING || jv_compare(j, v, next, "<") < 0))
                next = v;
        }
        if (next.type == JV_MISSING)
            break;
        if (last.type != JV_MISSING)
            put(j, " ");
        next.markup = false;
        struct jval escaped = js_escape(j, next);
        jinja_write(j, escaped.s->p, escaped.s->n);
        last = next;
    }
    put(j, "\"");
}

static bool is_scheme(struct jinja *j, struct jval v)
{
    return v.type == JV_STR &&
           matches(j, "\\A[\\p{L}\\p{N}_.+-]{2,}:/{0,2}\\z", (struct bytes){v.s->p, v.s->n});
}

struct jval jf_urlize(struct jinja *j, struct jval v, const struct jargs *a)
{
    struct urlize u = {.j = j, .limit = -1};
    struct jval limit = a->v[0], target = a->v[2], rel = a->v[3], schemes = a->v[4];
    if (limit.type != JV_MISSING && limit.type != JV_NONE) {
        if (!jv_is_integer(limit) || jv_as_int(limit) < 0)
            jinja_raise(j, "urlize takes a number of characters as trim_url_limit");
        u.limit = jv_as_int(limit);
    }
    if (schemes.type != JV_MISSING && schemes.type != JV_NONE)
        u.schemes = jv_items(j, schemes);
    for (size_t i = 0; u.schemes && i < u.schemes->n; i++)
        if (!is_scheme(j, u.schemes->v[i]))
            jinja_raise(j, "extra_schemes are not all URI scheme prefixes");
    size_t mark = j->out->len;
    put_rel(j, rel, a->v[1].type != JV_MISSING && jv_truth(j, a->v[1]));
    if (target.type != JV_MISSING && jv_truth(j, target)) {
        struct jval escaped = js_escape(j, jr_str(j, target));
        put(j, " target=\"");
        jinja_write(j, escaped.s->p, escaped.s->n);
        put(j, "\"");
    }
    u.attributes = jx_capture(j, mark);
    struct jval text = js_escape(j, jr_str(j, v));
    mark = j->out->len;
    put_words(&u, text.s);
    return jx_capture(j, mark);
}
