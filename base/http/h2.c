#include "base/http/conn.h"
int h2_open(struct conn *c){return ERR_UNAVAILABLE;}
void h2_free(struct conn *c){}
void h2_input(struct conn *c, struct str data){}
void h2_output(struct conn *c){}
void h2_after_flush(struct conn *c){}
void h2_check(struct conn *c, uint64_t now_ms, uint64_t *next_ms){}
void h2_go_away(struct conn *c){}
void h2_start(struct exchange *x, const struct http_field *fields, unsigned field_count, int64_t content_length){}
void h2_wake(struct exchange *x){}
void h2_consume(struct exchange *x, size_t n){}
void h2_reset(struct exchange *x, enum http_finish why){}
