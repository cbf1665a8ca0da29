/* Asks for other names, and all below them. config: "old.example new.example", in pairs. */
#include "../byname.h"

static uint8_t names[65536];
static uint32_t used;

BYNAME_EXPORT("byname_configure") int32_t byname_configure(uint32_t length) {
  struct byname_text text = byname_config(length);
  uint32_t bytes, count = 0;
  for (;; count++) {
    const uint8_t *word = byname_word(&text, &bytes);
    /* An odd number of names is a mistake. */
    if (bytes == 0) return count & 1;
    if (used + 256 > sizeof names) return 2;
    uint32_t name = byname_parse_name(word, bytes, names + used);
    if (name == 0) return 1;
    used += name;
  }
}

BYNAME_EXPORT("byname_query") int32_t byname_query(uint32_t length) {
  (void)length;
  for (uint32_t at = 0; at < used;) {
    const uint8_t *from = names + at, *to = from + byname_name_length(from);
    int32_t kept = byname_find_domain(byname_name(), from);
    if (kept >= 0) return byname_rename((uint32_t)kept, to);
    at = (uint32_t)(to - names) + byname_name_length(to);
  }
  return BYNAME_PASS;
}
