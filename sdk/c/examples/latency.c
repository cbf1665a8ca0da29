/*
 * Slow look-ups, to see how a program takes them. A plug-in cannot wait: all clients of the data worker would wait with it. So it
 * drops a part of the queries, and the client's resolver asks again after its own timeout (5 s unless resolv.conf says otherwise).
 * config: "10 slow.example", how many of 100 queries are dropped, and for which name and those below; without a name for all.
 */
#include "../byname.h"

static uint32_t percent;
static uint8_t name[256];

BYNAME_EXPORT("byname_configure") int32_t byname_configure(uint32_t length) {
  struct byname_text text = byname_config(length);
  uint32_t bytes;
  byname_counter_name(0, "dropped", 7);
  const uint8_t *word = byname_word(&text, &bytes);
  if (bytes == 0) return 1;
  for (uint32_t i = 0; i < bytes; i++) {
    if (word[i] < '0' || word[i] > '9') return 1;
    percent = percent * 10 + (word[i] - '0');
  }
  word = byname_word(&text, &bytes);
  return bytes > 0 && byname_parse_name(word, bytes, name) == 0;
}

BYNAME_EXPORT("byname_query") int32_t byname_query(uint32_t length) {
  (void)length;
  if (byname_find_domain(byname_name(), name) < 0 || byname_random() % 100 >= percent) return BYNAME_PASS;
  byname_counter(0, 1);
  return BYNAME_DROP;
}
