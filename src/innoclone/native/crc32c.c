/* CRC-32C (Castagnoli), by the processor's instruction where it has one, else by tables.
 *
 * The instruction takes three cycles but one can begin in each, so three pages are summed side by side. It is written as
 * assembly: compilers differ in how they are asked for it where not every processor has it.
 */
#include "native.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
static inline uint64_t add8(uint64_t sum, uint64_t word) {
    __asm__("crc32q %1, %0" : "+r"(sum) : "rm"(word));
    return sum;
}
static inline uint32_t add1(uint32_t sum, uint8_t byte) {
    __asm__("crc32b %1, %0" : "+r"(sum) : "qm"(byte));
    return sum;
}
static int has_instruction(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 20) != 0 /* SSE4.2 */;
}
#elif defined(__aarch64__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <sys/auxv.h>
#define CRC32_BIT (1 << 7) /* HWCAP_CRC32 */
static inline uint64_t add8(uint64_t sum, uint64_t word) {
    uint32_t out;
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w1, %x2" : "=r"(out) : "r"((uint32_t)sum), "r"(word));
    return out;
}
static inline uint32_t add1(uint32_t sum, uint8_t byte) {
    uint32_t out;
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w1, %w2" : "=r"(out) : "r"(sum), "r"((uint32_t)byte));
    return out;
}
static int has_instruction(void) { return (getauxval(AT_HWCAP) & CRC32_BIT) != 0; }
#else
#define NO_INSTRUCTION
#endif

enum { BY_PROCESSOR = 0, BY_TABLES = 1 };
static int way = BY_TABLES;
static uint32_t table[8][256];

__attribute__((constructor)) static void prepare(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t sum = byte;
        for (int bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >> 1 ^ 0x82F63B78u : sum >> 1;
        table[0][byte] = sum;
    }
    for (int row = 1; row < 8; row++)
        for (int byte = 0; byte < 256; byte++)
            table[row][byte] = table[row - 1][byte] >> 8 ^ table[0][table[row - 1][byte] & 0xFF];
    innoclone_crc32c_way(BY_PROCESSOR);
}

/* Sum by tables from now on, or by the processor if it can; returns the way that is gone. For tests, before threads. */
EXPORT int innoclone_crc32c_way(int wanted) {
#ifdef NO_INSTRUCTION
    (void)wanted;
    way = BY_TABLES;
#else
    way = wanted == BY_PROCESSOR && has_instruction() ? BY_PROCESSOR : BY_TABLES;
#endif
    return way;
}

/* Eight bytes at a time, whatever the byte order of the machine. */
static uint32_t by_tables(const uint8_t *data, size_t length) {
    uint32_t sum = ~0u;
    for (; length >= 8; data += 8, length -= 8)
        sum = table[7][(sum ^ data[0]) & 0xFF] ^ table[6][(sum >> 8 ^ data[1]) & 0xFF] ^
              table[5][(sum >> 16 ^ data[2]) & 0xFF] ^ table[4][(sum >> 24 ^ data[3]) & 0xFF] ^ table[3][data[4]] ^
              table[2][data[5]] ^ table[1][data[6]] ^ table[0][data[7]];
    for (; length; data++, length--) sum = sum >> 8 ^ table[0][(sum ^ *data) & 0xFF];
    return ~sum;
}

#ifndef NO_INSTRUCTION
static inline uint64_t word_at(const uint8_t *data) {
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

static uint32_t by_processor(const uint8_t *data, size_t length) {
    uint64_t sum = ~0u;
    for (; length >= 8; data += 8, length -= 8) sum = add8(sum, word_at(data));
    for (; length; data++, length--) sum = add1((uint32_t)sum, *data);
    return ~(uint32_t)sum;
}

static void three_by_processor(const uint8_t *data, size_t stride, size_t length, uint32_t sums[3]) {
    const uint8_t *second = data + stride, *third = second + stride;
    uint64_t a = ~0u, b = ~0u, c = ~0u;
    size_t at = 0;
    for (; at + 8 <= length; at += 8) {
        a = add8(a, word_at(data + at));
        b = add8(b, word_at(second + at));
        c = add8(c, word_at(third + at));
    }
    for (; at < length; at++) {
        a = add1((uint32_t)a, data[at]);
        b = add1((uint32_t)b, second[at]);
        c = add1((uint32_t)c, third[at]);
    }
    sums[0] = ~(uint32_t)a;
    sums[1] = ~(uint32_t)b;
    sums[2] = ~(uint32_t)c;
}
#endif

EXPORT uint32_t innoclone_crc32c(const uint8_t *data, size_t length) {
#ifndef NO_INSTRUCTION
    if (way == BY_PROCESSOR) return by_processor(data, length);
#endif
    return by_tables(data, length);
}

void crc32c_three(const uint8_t *data, size_t stride, size_t length, uint32_t sums[3]) {
#ifndef NO_INSTRUCTION
    if (way == BY_PROCESSOR) {
        three_by_processor(data, stride, length, sums);
        return;
    }
#endif
    for (int page = 0; page < 3; page++) sums[page] = by_tables(data + (size_t)page * stride, length);
}
