// A classic script in the head, so that the chosen colours are there before anything is drawn.
try {
  const theme = JSON.parse(localStorage.getItem("wsrunner.theme"));
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // No storage: the system's colours.
}
