/*
 * Another address for some clients. config: "10.1.0.0/16 api.example 10.9.9.9", network, name and address, any number of
 * times; the first that fits counts. A name is meant without those below it. AAAA gets NODATA, so that clients take the address.
 */
#include "../byname.h"

enum { A = 1, AAAA = 28, MOST = 200 };

static struct view {
  uint8_t network[4];
  uint32_t bits;
  uint8_t address[4];
  uint8_t name[256];
} views[MOST];
static uint32_t used;

BYNAME_EXPORT("byname_configure") int32_t byname_configure(uint32_t length) {
  struct byname_text text = byname_config(length);
  for (;; used++) {
    uint32_t bytes, slash = 0, bits = 0;
    const uint8_t *word = byname_word(&text, &bytes);
    if (bytes == 0) return 0;
    if (used == MOST) return 2;
    struct view *view = &views[used];
    while (slash < bytes && word[slash] != '/') slash++;
    if (!byname_parse_address(word, slash, view->network)) return 1;
    for (uint32_t i = slash + 1; i < bytes; i++) bits = bits * 10 + (word[i] - '0');
    view->bits = slash == bytes ? 32 : bits;
    if (view->bits > 32) return 1;
    word = byname_word(&text, &bytes);
    if (byname_parse_name(word, bytes, view->name) == 0) return 1;
    word = byname_word(&text, &bytes);
    if (!byname_parse_address(word, bytes, view->address)) return 1;
  }
}

static int is_in(const uint8_t *address, const struct view *view) {
  for (uint32_t bit = 0; bit < view->bits; bit++)
    if (((address[bit >> 3] ^ view->network[bit >> 3]) & (0x80 >> (bit & 7))) != 0) return 0;
  return 1;
}

BYNAME_EXPORT("byname_query") int32_t byname_query(uint32_t length) {
  (void)length;
  const struct byname_header *head = byname_head();
  if (head->family != 4 || (head->type != A && head->type != AAAA)) return BYNAME_PASS;
  for (uint32_t k = 0; k < used; k++) {
    if (!is_in(head->address, &views[k]) || byname_find_domain(byname_name(), views[k].name) != 0) continue;
    if (head->type == AAAA) return byname_deny(0, BYNAME_NO_EXTENDED_ERROR);
    return byname_answer(A, 30, views[k].address, 4);
  }
  return BYNAME_PASS;
}
