// Draws what is seen first, then the rest.

setTheme();
choose(episode);
// the tree stands below the fold: the rest is painted first
requestAnimationFrame(() => setTimeout(() => {
  arrange();
  applySearch();
  document.documentElement.dataset.ready = "";
}));
