import System.Environment
import System.Exit

main = do
  getArgs >>= mapM_ putStrLn
  getEnv "GREETING" >>= putStrLn
  exitWith (ExitFailure 7)
