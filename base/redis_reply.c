#include "base/redis_reply.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

/* hiredis calls create* for each value as it is read, parents before children; the task names the parent. */
struct node {
    struct redis_reply reply; /* first: a reply is its node */
    struct node *last_item;   /* newest child of an array */
};

struct redis_reader {
    redisReader *hiredis;
    uint32_t nodes_used;
    size_t text_used; /* bytes */
    bool too_long;
    struct node nodes[REDIS_REPLY_NODES];
    char text[REDIS_REPLY_TEXT];
};

static struct node *node_new(const redisReadTask *task, enum redis_type type)
{
    struct redis_reader *r = task->privdata;
    if (r->nodes_used == REDIS_REPLY_NODES) {
        return NULL; /* hiredis reports it as out of memory */
    }
    struct node *n = &r->nodes[r->nodes_used++];
    *n = (struct node){.reply = {.type = type, .text = STR_INIT("")}};
    if (task->parent) {
        struct node *array = task->parent->obj;
        if (array->last_item) {
            array->last_item->reply.next = &n->reply;
        } else {
            array->reply.items = &n->reply;
        }
        array->last_item = n;
    }
    return n;
}

static void *on_text(const redisReadTask *task, char *p, size_t n)
{
    struct redis_reader *r = task->privdata;
    bool is_error = task->type == REDIS_REPLY_ERROR;
    struct node *node = node_new(task, is_error ? REDIS_TYPE_ERROR : REDIS_TYPE_TEXT);
    if (!node || n > REDIS_REPLY_TEXT - r->text_used) {
        return NULL;
    }
    char *copy = r->text + r->text_used;
    memcpy(copy, p, n);
    r->text_used += n;
    node->reply.text = str_of(copy, n);
    return node;
}

static void *on_array(const redisReadTask *task, int count)
{
    struct node *node = node_new(task, REDIS_TYPE_ARRAY);
    if (node) {
        node->reply.count = (uint32_t)count;
    }
    return node;
}

static void *on_integer(const redisReadTask *task, long long value)
{
    struct node *node = node_new(task, REDIS_TYPE_INTEGER);
    if (node) {
        node->reply.integer = value;
    }
    return node;
}

static void *on_nil(const redisReadTask *task)
{
    return node_new(task, REDIS_TYPE_NIL);
}

#if HIREDIS_MAJOR >= 1
/* RESP3, which nobody asked for: what has no function here, hiredis would answer with a small number for a pointer. */
static void *on_double(const redisReadTask *task, double value, char *p, size_t n)
{
    return NULL;
}

static void *on_bool(const redisReadTask *task, int value)
{
    return NULL;
}
#endif

static void on_free(void *node)
{
    (void)node; /* nodes are reused, not freed */
}

static redisReplyObjectFunctions reader_functions = {
    .createString = on_text,
    .createArray = on_array,
    .createInteger = on_integer,
    .createNil = on_nil,
#if HIREDIS_MAJOR >= 1
    .createDouble = on_double,
    .createBool = on_bool,
#endif
    .freeObject = on_free,
};

static void reader_open(struct redis_reader *r)
{
    r->hiredis = redisReaderCreateWithFunctions(&reader_functions);
    BUG_ON(!r->hiredis);
    r->hiredis->privdata = r;
    r->nodes_used = 0;
    r->text_used = 0;
    r->too_long = false;
}

struct redis_reader *redis_reader_new(void)
{
    struct redis_reader *r = malloc(sizeof(*r));
    BUG_ON(!r);
    reader_open(r);
    return r;
}

void redis_reader_free(struct redis_reader *r)
{
    if (r) {
        redisReaderFree(r->hiredis);
        free(r);
    }
}

void redis_reader_reset(struct redis_reader *r)
{
    redisReaderFree(r->hiredis);
    reader_open(r);
}

int redis_reader_feed(struct redis_reader *r, const char *p, size_t n)
{
    if (r->hiredis->len - r->hiredis->pos + n > 2 * REDIS_REPLY_TEXT) {
        r->too_long = true;
        return ERR_PROTOCOL;
    }
    return redisReaderFeed(r->hiredis, p, n) == REDIS_OK ? 0 : ERR_PROTOCOL;
}

int redis_reader_next(struct redis_reader *r, const struct redis_reply **out)
{
    /* Nodes of a half-read answer stay: only a delivered one is forgotten, here, at the next call. */
    if (!r->hiredis->reply) {
        r->nodes_used = 0;
        r->text_used = 0;
    }
    void *reply = NULL;
    if (redisReaderGetReply(r->hiredis, &reply) != REDIS_OK) {
        return ERR_PROTOCOL;
    }
    if (!reply) {
        return 0;
    }
    *out = &((struct node *)reply)->reply;
    return 1;
}

const char *redis_reader_trouble(const struct redis_reader *r)
{
    return r->too_long ? "an answer without end" : r->hiredis->errstr;
}
