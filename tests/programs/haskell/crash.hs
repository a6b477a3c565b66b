import Foreign

main = poke (nullPtr `plusPtr` 8) (1 :: Int)
