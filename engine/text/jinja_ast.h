/* jinja_ast.h - the parsed template. One node type with a few general slots; what each kind keeps
 * in them stands beside its name. Lists are linked by `next`. Immutable after parsing. */
#ifndef ENGINE_TEXT_JINJA_AST_H
#define ENGINE_TEXT_JINJA_AST_H

#include "engine/text/jinja_value.h"

/* clang-format off */
enum jkind {
    /* expressions */
    JN_CONST,       /* value */
    JN_NAME,        /* name */
    JN_NSREF,       /* name, value: attribute; only as a target */
    JN_TUPLE,       /* list */
    JN_LIST,        /* list */
    JN_DICT,        /* list: key, value, key, value ... */
    JN_COND,        /* a: condition, b: then, c: else or NULL */
    JN_AND, JN_OR,  /* a, b */
    JN_NOT,         /* a */
    JN_COMPARE,     /* a, list of JN_OPERAND */
    JN_OPERAND,     /* op, a */
    JN_BINARY,      /* op, a, b */
    JN_UNARY,       /* op, a */
    JN_CONCAT,      /* list */
    JN_ATTR,        /* a, value: name */
    JN_ITEM,        /* a, b */
    JN_SLICE,       /* a, b, c: each may be NULL; only as b of JN_ITEM */
    JN_CALL,        /* a: callee, list: arguments, list2: JN_KEYWORDs, b: *args, c: **kwargs */
    JN_FILTER,      /* as JN_CALL; a: the input, NULL: what the block wrote; func, name */
    JN_TEST,        /* as JN_FILTER */
    JN_KEYWORD,     /* name, a */
    /* statements */
    JN_TEXT,        /* value */
    JN_PRINT,       /* a */
    JN_FOR,         /* a: target, b: what to walk, c: `if`, list: body, list2: else, flag: recursive */
    JN_IF,          /* list of JN_BRANCH */
    JN_BRANCH,      /* a: condition or NULL for else, list: body */
    JN_SET,         /* a: target, b */
    JN_SET_BLOCK,   /* a: target, b: filter or NULL, list: body */
    JN_MACRO,       /* name, list: body, list2: JN_PARAMs, uses */
    JN_CALL_BLOCK,  /* as JN_MACRO; a: the call */
    JN_PARAM,       /* name, a: default or NULL */
    JN_FILTER_BLOCK,/* b: filter, list: body */
    JN_WITH,        /* list: body, list2: JN_SETs */
    JN_SCOPE,       /* list: body; flag: sees top-level names only (a block) */
    JN_BREAK, JN_CONTINUE,
    JN_FAIL         /* value: message */
};
enum jop {
    JOP_ADD, JOP_SUB, JOP_MUL, JOP_DIV, JOP_FLOORDIV, JOP_MOD, JOP_POW,
    JOP_EQ, JOP_NE, JOP_LT, JOP_LE, JOP_GT, JOP_GE, JOP_IN, JOP_NOT_IN
};
enum juse { JUSE_CALLER = 1, JUSE_KWARGS = 2, JUSE_VARARGS = 4 };
/* clang-format on */

/* Names the language itself sets. */
enum jname_id { JNAME_LOOP, JNAME_CALLER, JNAME_KWARGS, JNAME_VARARGS, N_JNAMES };

struct jname { /* equal names have equal ids */
    const char *p;
    size_t n;
    int id;
};

struct jnode {
    uint8_t kind, op;
    uint8_t uses; /* JN_MACRO, JN_CALL_BLOCK: enum juse, names its body reads */
    bool flag;
    int line;
    int depth; /* nodes below this one, counted down the deepest path */
    struct jname name;
    struct jval value;
    const struct jfunc *func;
    struct jnode *a, *b, *c, *list, *list2, *next;
};

struct jmacro {
    const struct jnode *node;
    struct jscope *scope; /* where it was defined */
};

#endif
