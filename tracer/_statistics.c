/* The facts about the elements of a value, in one pass over their memory.

   statistics.py says what the facts are, and has NumPy tell the same where this is not built. No
   header of PyTorch or NumPy is needed, and one build serves every later Python.

   Memory is read in blocks that stay in the processor's cache. As long as there are only zeros and
   one other number, or only -1, 0 and 1, these are counted, and the extremes follow. After that all
   elements are checked for being whole; once one is not, only the nonzero ones are counted.

   Floats are compared as integers, so that no mode of the processor takes small numbers for zeros.
   Each loop is written so that compilers make vector instructions of it: no branches, counters as
   wide as the elements. No counter overflows within a block. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <float.h>
#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2
#error "every operation must round to its own type"
#endif

/* A second version of each loop for processors that have AVX2, chosen when the module is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__AVX2__)
#if !defined(__clang__) || __clang_major__ >= 14
#define VECTORS __attribute__((target_clones("avx2", "default")))
#endif
#endif
#ifndef VECTORS
#define VECTORS
#endif

enum { VERSION = 1 }; /* raised when what `measure` takes or tells changes */
enum { BINARY = 1, TERNARY = 2, SCALED = 4, WHOLE = 8, CONSTANT = 16 }; /* as in SpikeClass */
enum { ROW = 64, BLOCK = 255 * ROW, FIRST_BLOCK = 8 * ROW };            /* bytes */
enum { MOST_COLUMNS = 1024 };
enum { LONG = 1 << 18 }; /* bytes from which on other threads may run meanwhile */

/* ---- One element. */

static inline uint32_t bits32(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
static inline uint64_t bits64(double x) { uint64_t u; memcpy(&u, &x, 8); return u; }
static inline float float32(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }
static inline double float64(uint64_t u) { double x; memcpy(&x, &u, 8); return x; }

/* Adding 2^23 (2^52) and taking it away rounds to whole numbers; from there on all are whole. No
   branches: masks of all bits or none in their place, for compilers keep branches in a loop. */
static inline uint32_t fraction_f32(uint32_t u) {
    uint32_t a = u & 0x7FFFFFFFu, small = a & -(uint32_t)(a < 0x4B000000u);
    uint32_t rounded = bits32((float32(small) + 0x1p23f) - 0x1p23f);
    return (rounded != small) | (a >= 0x7F800000u);
}

static inline uint64_t fraction_f64(uint64_t u) {
    uint64_t a = u & 0x7FFFFFFFFFFFFFFFu, small = a & -(uint64_t)(a < 0x4330000000000000u);
    uint64_t rounded = bits64((float64(small) + 0x1p52) - 0x1p52);
    return (rounded != small) | (a >= 0x7FF0000000000000u);
}

static inline uint16_t fraction_bf16(uint16_t u) {
    return (uint16_t)fraction_f32((uint32_t)u << 16);
}

/* From 1 on the bits of a half, moved, are those of the same float. */
static inline uint16_t fraction_f16(uint16_t u) {
    uint32_t a = u & 0x7FFFu, wide = ((a << 13) + (112u << 23)) & -(uint32_t)(a >= 0x3C00u);
    return (uint16_t)(fraction_f32(wide) | (a - 1u < 0x3BFFu) | (a >= 0x7C00u));
}

/* Integers in the order of the numbers; done twice they are the bits again. */
static inline int16_t key_16(int16_t s) { return (int16_t)(s ^ ((s >> 15) & 0x7FFF)); }
static inline int32_t key_32(int32_t s) { return s ^ ((s >> 31) & 0x7FFFFFFF); }
static inline int64_t key_64(int64_t s) { return s ^ (-(int64_t)(s < 0) & 0x7FFFFFFFFFFFFFFF); }

/* What is no number in a float of 8 or 16 bits. */
enum Special {
    LAST_EXPONENT, /* infinities and NaN, as in the larger ones */
    LAST_CODE,     /* NaN, with either sign */
    MINUS_ZERO,    /* NaN */
};

/* A float of 8 or 16 bits: so many of exponent, and of mantissa. */
static double small_float(unsigned code, int e_bits, int m_bits, int bias, enum Special special) {
    const unsigned last = (1u << (e_bits + m_bits)) - 1u, rest = code & last;
    const unsigned exponent = rest >> m_bits, mantissa = rest & ((1u << m_bits) - 1u);
    const uint64_t sign = (uint64_t)(rest != code) << 63;
    if (special == LAST_EXPONENT && exponent == (1u << e_bits) - 1u)
        return float64(sign | 0x7FF0000000000000u | (uint64_t)mantissa << (52 - m_bits));
    if (special == LAST_CODE ? rest == last : special == MINUS_ZERO && sign && !rest)
        return float64(0x7FF8000000000000u);
    if (!exponent) {
        const double x = (double)mantissa * float64((uint64_t)(1024 - bias - m_bits) << 52);
        return sign ? -x : x;
    }
    return float64(sign | (uint64_t)((int)exponent - bias + 1023) << 52 |
                   (uint64_t)mantissa << (52 - m_bits));
}

static double value_f16(int16_t key) {
    return small_float((uint16_t)key_16(key), 5, 10, 15, LAST_EXPONENT);
}
static double value_bf16(int16_t key) {
    return small_float((uint16_t)key_16(key), 8, 7, 127, LAST_EXPONENT);
}
static double value_f64(int64_t key) { return float64((uint64_t)key_64(key)); }
static double value_f32(int32_t key) {
    uint32_t u = (uint32_t)key_32(key), a = u & 0x7FFFFFFFu;
    if (a >= 0x800000u) return (double)float32(u);
    return (u >> 31 ? -0x1p-149 : 0x1p-149) * (double)a;
}

/* ---- Loops over `n` elements, a block at most. */

/* Count what is not zero; a counter of its own for each element of a row. */
#define MASKED(U, B)                                                                               \
    VECTORS static uint64_t masked_##B(const void *at, size_t n, const void *mask) {               \
        enum { LANES = ROW / sizeof(U) };                                                          \
        const U *p = at, *rows = p + n / LANES * LANES, *end = p + n, bits = *(const U *)mask;     \
        U lanes[LANES] = {0};                                                                      \
        uint64_t count = 0;                                                                        \
        for (; p < rows; p += LANES)                                                               \
            for (int k = 0; k < LANES; k++) lanes[k] += (U)((p[k] & bits) != 0);                   \
        for (int k = 0; k < LANES; k++) count += lanes[k];                                         \
        for (; p < end; p++) count += (*p & bits) != 0;                                            \
        return count;                                                                              \
    }
MASKED(uint8_t, 8)
MASKED(uint16_t, 16)
MASKED(uint32_t, 32)
MASKED(uint64_t, 64)

VECTORS static uint64_t masked_128(const void *at, size_t n, const void *mask) {
    const uint64_t *p = at, bits = *(const uint64_t *)mask;
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((p[2 * i] | p[2 * i + 1]) & bits) != 0;
    return count;
}

/* Count what equals a number, and besides what is not zero. */
#define EQUAL(U, B)                                                                                \
    VECTORS static uint64_t equal_##B(const void *at, size_t n, const void *number,                \
                                      const void *mask, uint64_t *nonzero) {                       \
        const U *p = at, wanted = *(const U *)number, bits = *(const U *)mask;                     \
        U equal = 0, others = 0;                                                                   \
        for (size_t i = 0; i < n; i++) {                                                           \
            equal += (U)(p[i] == wanted);                                                          \
            others += (U)((p[i] & bits) != 0);                                                     \
        }                                                                                          \
        *nonzero = others;                                                                         \
        return equal;                                                                              \
    }
EQUAL(uint16_t, 16)
EQUAL(uint32_t, 32)
EQUAL(uint64_t, 64)

/* Bytes count but to 255: rows again. */
VECTORS static uint64_t equal_8(const void *at, size_t n, const void *number, const void *mask,
                                uint64_t *nonzero) {
    const uint8_t *p = at, *rows = p + n / ROW * ROW, *end = p + n;
    const uint8_t wanted = *(const uint8_t *)number, bits = *(const uint8_t *)mask;
    uint8_t equals[ROW] = {0}, others[ROW] = {0};
    uint64_t equal = 0, other = 0;
    for (; p < rows; p += ROW)
        for (int k = 0; k < ROW; k++) {
            equals[k] += (uint8_t)(p[k] == wanted);
            others[k] += (uint8_t)((p[k] & bits) != 0);
        }
    for (int k = 0; k < ROW; k++) equal += equals[k], other += others[k];
    for (; p < end; p++) equal += *p == wanted, other += (*p & bits) != 0;
    *nonzero = other;
    return equal;
}

#define FRACTIONS(T, U)                                                                            \
    VECTORS static int fractions_##T(const void *at, size_t n) {                                   \
        const U *p = at;                                                                           \
        U any = 0;                                                                                 \
        for (size_t i = 0; i < n; i++) any |= fraction_##T(p[i]);                                  \
        return any != 0;                                                                           \
    }
FRACTIONS(f16, uint16_t)
FRACTIONS(bf16, uint16_t)
FRACTIONS(f32, uint32_t)
FRACTIONS(f64, uint64_t)

#define EXTREMES(T, K, KEY, VALUE)                                                                 \
    VECTORS static void extremes_##T(const void *at, size_t n, double *least, double *most) {      \
        const K *p = at;                                                                           \
        K low = KEY(*p), high = low;                                                               \
        for (size_t i = 0; i < n; i++) {                                                           \
            const K key = KEY(p[i]);                                                               \
            low = key < low ? key : low;                                                           \
            high = key > high ? key : high;                                                        \
        }                                                                                          \
        *least = VALUE(low);                                                                       \
        *most = VALUE(high);                                                                       \
    }
EXTREMES(i8, int8_t, , (double))
EXTREMES(u8, uint8_t, , (double))
EXTREMES(i16, int16_t, , (double))
EXTREMES(u16, uint16_t, , (double))
EXTREMES(i32, int32_t, , (double))
EXTREMES(u32, uint32_t, , (double))
EXTREMES(i64, int64_t, , (double))
EXTREMES(u64, uint64_t, , (double))
EXTREMES(f16, int16_t, key_16, value_f16)
EXTREMES(bf16, int16_t, key_16, value_bf16)
EXTREMES(f32, int32_t, key_32, value_f32)
EXTREMES(f64, int64_t, key_64, value_f64)

#define EIGHT(T, E_BITS, M_BITS, BIAS, SPECIAL)                                                    \
    static int fractions_##T(const void *at, size_t n) {                                           \
        const uint8_t *p = at;                                                                     \
        for (size_t i = 0; i < n; i++) {                                                           \
            const double x = small_float(p[i], E_BITS, M_BITS, BIAS, SPECIAL);                     \
            if (!(x - x == 0) || x != (double)(int)x) return 1;                                    \
        }                                                                                          \
        return 0;                                                                                  \
    }                                                                                              \
    static void extremes_##T(const void *at, size_t n, double *least, double *most) {              \
        const uint8_t *p = at;                                                                     \
        *least = *most = small_float(*p, E_BITS, M_BITS, BIAS, SPECIAL);                           \
        for (size_t i = 1; i < n; i++) {                                                           \
            const double x = small_float(p[i], E_BITS, M_BITS, BIAS, SPECIAL);                     \
            *least = x < *least ? x : *least;                                                      \
            *most = x > *most ? x : *most;                                                         \
        }                                                                                          \
    }
EIGHT(e4m3, 4, 3, 7, LAST_CODE)
EIGHT(e5m2, 5, 2, 15, LAST_EXPONENT)
EIGHT(e4m3z, 4, 3, 8, MINUS_ZERO)
EIGHT(e5m2z, 5, 2, 16, MINUS_ZERO)

/* ---- The types. */

typedef struct {
    const char *name; /* of the dtype, as PyTorch has it */
    size_t size;
    uint64_t (*masked)(const void *at, size_t n, const void *mask);
    uint64_t (*equal)(const void *at, size_t n, const void *number, const void *mask,
                      uint64_t *nonzero); /* NULL: what has no number, or but zeros and ones */
    int (*fractions)(const void *at, size_t n); /* is one not whole, or not finite? NULL: none */
    void (*extremes)(const void *at, size_t n, double *least, double *most);
    const void *mask, *one, *minus; /* the bits that are zero in zeros; 1 and -1, NULL: none */
} Kind;

#define LITERAL(U, number) (&(const U){number})
#define COUNTED_KIND(NAME, SIZE, MASKED, U, MASK)                                                  \
    {NAME, SIZE, MASKED, NULL, NULL, NULL, LITERAL(U, MASK), NULL, NULL}
#define WHOLE_KIND(NAME, T, B, MINUS)                                                              \
    {NAME, B / 8, masked_##B, equal_##B, NULL, extremes_##T, LITERAL(uint##B##_t, UINT##B##_MAX),  \
     LITERAL(uint##B##_t, 1), MINUS}
#define FLOAT_KIND(NAME, T, B, MASK, ONE, MINUS)                                                   \
    {NAME, B / 8, masked_##B, equal_##B, fractions_##T, extremes_##T, LITERAL(uint##B##_t, MASK),  \
     LITERAL(uint##B##_t, ONE), LITERAL(uint##B##_t, MINUS)}

static const Kind KINDS[] = {
    /* the first: bool */
    COUNTED_KIND("bool", 1, masked_8, uint8_t, 0xFF),
    COUNTED_KIND("complex64", 8, masked_64, uint64_t, 0x7FFFFFFF7FFFFFFF),
    COUNTED_KIND("complex128", 16, masked_128, uint64_t, 0x7FFFFFFFFFFFFFFF),
    WHOLE_KIND("int8", i8, 8, LITERAL(uint8_t, UINT8_MAX)),
    WHOLE_KIND("int16", i16, 16, LITERAL(uint16_t, UINT16_MAX)),
    WHOLE_KIND("int32", i32, 32, LITERAL(uint32_t, UINT32_MAX)),
    WHOLE_KIND("int64", i64, 64, LITERAL(uint64_t, UINT64_MAX)),
    WHOLE_KIND("uint8", u8, 8, NULL),
    WHOLE_KIND("uint16", u16, 16, NULL),
    WHOLE_KIND("uint32", u32, 32, NULL),
    WHOLE_KIND("uint64", u64, 64, NULL),
    FLOAT_KIND("float16", f16, 16, 0x7FFF, 0x3C00, 0xBC00),
    FLOAT_KIND("bfloat16", bf16, 16, 0x7FFF, 0x3F80, 0xBF80),
    FLOAT_KIND("float32", f32, 32, 0x7FFFFFFF, 0x3F800000, 0xBF800000),
    FLOAT_KIND("float64", f64, 64, 0x7FFFFFFFFFFFFFFF, 0x3FF0000000000000, 0xBFF0000000000000),
    FLOAT_KIND("float8_e4m3fn", e4m3, 8, 0x7F, 0x38, 0xB8),
    FLOAT_KIND("float8_e5m2", e5m2, 8, 0x7F, 0x3C, 0xBC),
    FLOAT_KIND("float8_e4m3fnuz", e4m3z, 8, 0xFF, 0x40, 0xC0),
    FLOAT_KIND("float8_e5m2fnuz", e5m2z, 8, 0xFF, 0x40, 0xC0),
};
enum { COUNT_OF_KINDS = sizeof KINDS / sizeof *KINDS };

/* ---- All elements. */

/* What is known of the elements so far. */
typedef struct {
    enum { ZEROS, NUMBER, UNITS, GRADED, ANYTHING } state;
    uint64_t size, nonzero, ones, minus;
    uint64_t number;  /* NUMBER: the bits of it, from the lowest address on */
    int fraction;     /* NUMBER: it is not whole */
    double low, high; /* NUMBER: both are it; GRADED: the extremes */
} Facts;

/* Take the first of a block's elements that is not zero for the number. */
static void find(const Kind *kind, const char *at, size_t n, Facts *facts) {
    while (n > 1) {
        const size_t half = n / 2;
        const int first = kind->masked(at, half, kind->mask) != 0;
        at += first ? 0 : half * kind->size;
        n = first ? half : n - half;
    }
    memcpy(&facts->number, at, kind->size);
    kind->extremes(at, 1, &facts->low, &facts->high);
    facts->fraction = kind->fractions && kind->fractions(at, 1);
    facts->state = facts->low == facts->low ? NUMBER : ANYTHING; /* a NaN equals nothing */
}

/* Another number stands beside the one. */
static void leave_number(const Kind *kind, Facts *facts) {
    const int one = kind->one && !memcmp(&facts->number, kind->one, kind->size);
    const int minus = kind->minus && !memcmp(&facts->number, kind->minus, kind->size);
    facts->state = facts->fraction ? ANYTHING : one || minus ? UNITS : GRADED;
    facts->ones = one ? facts->nonzero : 0;
    facts->minus = minus ? facts->nonzero : 0;
    if (facts->size > facts->nonzero) {
        facts->low = facts->low < 0 ? facts->low : 0;
        facts->high = facts->high > 0 ? facts->high : 0;
    }
}

/* Another number stands beside -1 and 1. */
static void leave_units(Facts *facts) {
    const int zeros = facts->size > facts->nonzero;
    facts->state = GRADED;
    facts->low = facts->minus ? -1 : zeros ? 0 : 1;
    facts->high = facts->ones ? 1 : zeros ? 0 : -1;
}

static void widen(const Kind *kind, const char *at, size_t n, Facts *facts) {
    double low, high;
    if (kind->fractions && kind->fractions(at, n)) {
        facts->state = ANYTHING;
        return;
    }
    kind->extremes(at, n, &low, &high);
    facts->low = low < facts->low ? low : facts->low;
    facts->high = high > facts->high ? high : facts->high;
}

/* Take a block into account: what held so far holds on, or the next that may. */
static void take(const Kind *kind, const char *at, size_t n, Facts *facts) {
    uint64_t nonzero, same = 0, ones, minus = 0;
    if (facts->state == ZEROS && kind->masked(at, n, kind->mask)) find(kind, at, n, facts);
    if (facts->state == NUMBER) {
        same = kind->equal(at, n, &facts->number, kind->mask, &nonzero);
        if (same != nonzero) leave_number(kind, facts);
    }
    if (facts->state == UNITS || facts->state == GRADED) {
        ones = kind->equal(at, n, kind->one, kind->mask, &nonzero);
        if (kind->minus) minus = kind->equal(at, n, kind->minus, kind->mask, &nonzero);
        if (facts->state == UNITS && ones + minus != nonzero) leave_units(facts);
        if (facts->state == GRADED) widen(kind, at, n, facts);
        facts->ones += ones;
        facts->minus += minus;
    } else if (facts->state == ANYTHING) {
        nonzero = kind->masked(at, n, kind->mask);
    }
    facts->nonzero += facts->state == ZEROS ? 0 : nonzero;
    facts->size += n;
}

/* Elements at an address that is no multiple of their size are moved first. */
static void read_all(const Kind *kind, const char *at, size_t n, Facts *facts) {
    uint64_t moved[BLOCK / sizeof(uint64_t)];
    const size_t boundary = kind->size < 8 ? kind->size : 8;
    const int aligned = (uintptr_t)at % boundary == 0;
    size_t most = FIRST_BLOCK / kind->size;
    facts->state = kind->equal ? ZEROS : ANYTHING;
    while (n) {
        const size_t m = n < most ? n : most, bytes = m * kind->size;
        if (!aligned) memcpy(moved, at, bytes);
        take(kind, aligned ? at : (const char *)moved, m, facts);
        at += bytes;
        n -= m;
        most = BLOCK / kind->size;
    }
}

static PyObject *told(int bits, uint64_t nonzero, uint64_t ones, uint64_t minus, double low,
                      double high) {
    return Py_BuildValue("(iKKKdd)", bits, (unsigned long long)nonzero, (unsigned long long)ones,
                         (unsigned long long)minus, low, high);
}

static PyObject *told_zeros_and_ones(uint64_t ones, uint64_t size) {
    const int constant = ones == 0 || ones == size ? CONSTANT : 0;
    const int bits = BINARY | TERNARY | SCALED | WHOLE | constant;
    return told(bits, ones, ones, 0, ones == size, ones != 0);
}

static PyObject *told_number(const Facts *facts) {
    const uint64_t nonzero = facts->nonzero, size = facts->size;
    const double number = facts->low, zero = nonzero < size ? 0 : number;
    int bits = SCALED | (nonzero == size ? CONSTANT : 0) | (facts->fraction ? 0 : WHOLE);
    if (number == 1) return told_zeros_and_ones(nonzero, size);
    if (number == -1) bits |= TERNARY;
    return told(bits, nonzero, 0, number == -1 ? nonzero : 0, number < 0 ? number : zero,
                number < 0 ? zero : number);
}

static PyObject *told_facts(const Kind *kind, const Facts *facts) {
    if (kind == KINDS) return told_zeros_and_ones(facts->nonzero, facts->size); /* bool */
    const uint64_t nonzero = facts->nonzero, ones = facts->ones, minus = facts->minus;
    switch (facts->state) {
    case ZEROS: return told_zeros_and_ones(0, facts->size);
    case NUMBER: return told_number(facts);
    case UNITS: return told(TERNARY | WHOLE, nonzero, ones, minus, -1, 1);
    case GRADED: /* adding 0 makes 0 of -0 */
        return told(WHOLE, nonzero, ones, minus, facts->low + 0.0, facts->high + 0.0);
    default: return PyLong_FromUnsignedLongLong(nonzero);
    }
}

/* ---- The module. */

PyDoc_STRVAR(measure_doc,
"measure(address, size, kind, /)\n--\n\n"
"Return the facts about `size` elements at an address; of such without a class the nonzero ones.");

static PyObject *measure(PyObject *Py_UNUSED(module), PyObject *const *given, Py_ssize_t count) {
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "measure takes an address, a size and a kind");
        return NULL;
    }
    const char *at = PyLong_AsVoidPtr(given[0]);
    const Py_ssize_t size = PyLong_AsSsize_t(given[1]);
    const long number = PyLong_AsLong(given[2]);
    if (PyErr_Occurred()) return NULL;
    if (size < 1 || !at || number < 0 || number >= COUNT_OF_KINDS) {
        PyErr_SetString(PyExc_ValueError, "there are no elements of this kind at this address");
        return NULL;
    }
    const Kind *kind = &KINDS[number];
    Facts facts = {0};
    if ((size_t)size > LONG / kind->size) {
        Py_BEGIN_ALLOW_THREADS
        read_all(kind, at, (size_t)size, &facts);
        Py_END_ALLOW_THREADS
    } else {
        read_all(kind, at, (size_t)size, &facts);
    }
    return told_facts(kind, &facts);
}

PyDoc_STRVAR(column_sums_doc,
"column_sums(address, rows, columns, /)\n--\n\n"
"Return the sums modulo 2 to the 64 of the columns of a table of integers of 8 bytes, as bytes.");

/* Four rows at a time: the sums are in the processor's cache, and are read and written as often as
   there are blocks of rows. */
VECTORS static void add_columns(const char *at, size_t rows, size_t columns, uint64_t *sums) {
    const size_t row = columns * sizeof *sums;
    for (; rows >= 4; rows -= 4, at += 4 * row) {
        for (size_t i = 0; i < columns; i++) {
            const char *first = at + i * sizeof *sums;
            uint64_t a, b, c, d;
            memcpy(&a, first, sizeof a);
            memcpy(&b, first + row, sizeof b);
            memcpy(&c, first + 2 * row, sizeof c);
            memcpy(&d, first + 3 * row, sizeof d);
            sums[i] += a + b + c + d;
        }
    }
    for (; rows; rows--, at += row) {
        for (size_t i = 0; i < columns; i++) {
            uint64_t a;
            memcpy(&a, at + i * sizeof a, sizeof a);
            sums[i] += a;
        }
    }
}

static PyObject *column_sums(PyObject *Py_UNUSED(module), PyObject *const *given,
                             Py_ssize_t count) {
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "column_sums takes an address, rows and columns");
        return NULL;
    }
    const char *at = PyLong_AsVoidPtr(given[0]);
    const Py_ssize_t rows = PyLong_AsSsize_t(given[1]), columns = PyLong_AsSsize_t(given[2]);
    if (PyErr_Occurred()) return NULL;
    if (!at || rows < 0 || columns < 1 || columns > MOST_COLUMNS) {
        PyErr_SetString(PyExc_ValueError, "there is no such table at this address");
        return NULL;
    }
    uint64_t sums[MOST_COLUMNS] = {0};
    Py_BEGIN_ALLOW_THREADS
    add_columns(at, (size_t)rows, (size_t)columns, sums);
    Py_END_ALLOW_THREADS
    return PyBytes_FromStringAndSize((const char *)sums, columns * (Py_ssize_t)sizeof *sums);
}

static int fill(PyObject *module) {
    PyObject *kinds = PyTuple_New(COUNT_OF_KINDS);
    int failed = kinds == NULL;
    for (int i = 0; !failed && i < COUNT_OF_KINDS; i++) {
        PyObject *name = PyUnicode_FromString(KINDS[i].name);
        failed = name == NULL || PyTuple_SetItem(kinds, i, name);
    }
    failed = failed || PyModule_AddObjectRef(module, "KINDS", kinds) ||
             PyModule_AddIntConstant(module, "VERSION", VERSION);
    Py_XDECREF(kinds);
    return failed ? -1 : 0;
}

static PyMethodDef methods[] = {
    {"measure", (PyCFunction)(void (*)(void))measure, METH_FASTCALL, measure_doc},
    {"column_sums", (PyCFunction)(void (*)(void))column_sums, METH_FASTCALL, column_sums_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)fill}, {0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_statistics", "The facts about the elements of a value, in C.", 0,
    methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__statistics(void) { return PyModuleDef_Init(&definition); }
