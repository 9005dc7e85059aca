/* A JSON file of a model's folder, read strictly: its members by name and type.
 * Not JSON itself: base/json.h.
 *
 * The first error stays in `rc` and `err`, naming the file and the member; what is read after it is not used.
 * A member that is null counts as absent.
 * Ownership: texts live in the arena.
 * Thread rule: one thread. */
#ifndef TIDE_WORKER_SAFETENSORS_FIELDS_H
#define TIDE_WORKER_SAFETENSORS_FIELDS_H

#include "base/json.h"

struct fields {
    struct arena *arena;
    const char *file;    /* "config.json", or what of it: for errors */
    struct json_doc doc; /* an object */
    struct err *err;
    int rc;
};

/* ERR_NOT_FOUND: there is no such file. */
int fields_open(struct fields *f, struct arena *arena, const char *folder, const char *file,
                struct err *err) TIDE_CHECK;
/* A member that is an object; empty, without an error, where it is absent. *name is for errors. */
void fields_open_member(struct fields *f, struct fields *inner, const char *name);
/* As fields_open_member, of a value that was found. */
void fields_open_value(struct fields *f, struct fields *inner, const struct json_slice *value,
                       const char *name);
void fields_close_member(struct fields *f, const struct fields *inner); /* f takes over its error */

const struct json_slice *fields_find(const struct fields *f, const char *name); /* NULL: absent or null */
uint32_t fields_u32(struct fields *f, const char *name, uint32_t absent);
uint32_t fields_required(struct fields *f, const char *name); /* a whole number above 0 */
double fields_real(struct fields *f, const char *name, double absent);
bool fields_bool(struct fields *f, const char *name, bool absent);
struct str fields_str(struct fields *f, const char *name, const char *absent);
void fields_refuse(struct fields *f, const char *name, const char *why);

/* The text of a member's key, unescaped. */
struct str fields_key(struct fields *f, const struct json_slice *member);
/* A whole file as text; ERR_NOT_FOUND: there is none. */
int fields_read_file(struct arena *arena, const char *folder, const char *file, struct str *out,
                     struct err *err) TIDE_CHECK;

#endif
