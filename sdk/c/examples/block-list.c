/* Denies names, and all below them. config: "ads.example tracker.example". */
#include "../byname.h"

enum { BLOCKED = 15, NXDOMAIN = 3 };

/* Names in wire format, one after the other. */
static uint8_t names[65536];
static uint32_t used;

BYNAME_EXPORT("byname_configure") int32_t byname_configure(uint32_t length) {
  struct byname_text text = byname_config(length);
  uint32_t bytes;
  byname_counter_name(0, "blocked", 7);
  for (;;) {
    const uint8_t *word = byname_word(&text, &bytes);
    if (bytes == 0) return 0;
    if (used + 256 > sizeof names) return 2;
    uint32_t name = byname_parse_name(word, bytes, names + used);
    if (name == 0) return 1;
    used += name;
  }
}

BYNAME_EXPORT("byname_query") int32_t byname_query(uint32_t length) {
  (void)length;
  for (uint32_t at = 0; at < used; at += byname_name_length(names + at)) {
    if (byname_find_domain(byname_name(), names + at) < 0) continue;
    byname_counter(0, 1);
    return byname_deny(NXDOMAIN, BLOCKED);
  }
  return BYNAME_PASS;
}
