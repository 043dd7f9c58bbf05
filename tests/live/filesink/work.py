import json, re, random, hashlib, collections, itertools, decimal, fractions, datetime, pickle, zlib, struct, dataclasses, functools, heapq, textwrap, ast, traceback
random.seed(1)
d = {str(i): [random.random() for _ in range(5)] for i in range(3000)}
s = json.dumps(d, sort_keys=True); assert json.loads(s) == d; print(hashlib.sha256(s.encode()).hexdigest())
print(collections.Counter(re.findall(r'\d{2}', s)).most_common(5)); print(zlib.crc32(pickle.dumps(d)), len(zlib.compress(s.encode())))
@functools.lru_cache(None)
def fib(n): return n if n < 2 else fib(n-1) + fib(n-2)
print(fib(300), decimal.Decimal(2).sqrt(), fractions.Fraction(1, 3) + fractions.Fraction(2, 7))
@dataclasses.dataclass(order=True)
class P: x: int; y: str = 'a'
h = [P(random.randrange(100), chr(97 + i % 26)) for i in range(500)]; heapq.heapify(h); print([heapq.heappop(h) for _ in range(5)])
def g(n):
    try:
        for i in range(n): yield i * i
    finally: print('closed')
print(sum(itertools.islice(g(100), 50)))
try: [][1]
except IndexError: print(traceback.format_exc())
print(ast.dump(ast.parse(textwrap.dedent("""
  class A(B, metaclass=M):
    async def f(self, *a, **k):
      async with x as y: return [await z for z in y if z]
"""))))
import asyncio
async def w(n): await asyncio.sleep(0); return n
async def m(): return sum(await asyncio.gather(*(w(i) for i in range(200))))
print(asyncio.run(m())); import threading; r = []; t = [threading.Thread(target=lambda k=k: r.append(sum(range(k * 1000)))) for k in range(8)]; [x.start() for x in t]; [x.join() for x in t]; print(sorted(r))
def rec(n): return 0 if n == 0 else 1 + rec(n - 1)
try: rec(10**5)
except RecursionError as e: print(e)
print(struct.pack('<dIh', 1.5, 7, -2), '%.10g' % 1e-7, f'{12345.678:>12,.2f}', (2**521 - 1) % 10**9, round(2.5), complex(1, 2) ** 2)
