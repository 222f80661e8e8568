"""From exports and claims to verdicts, and a page that shows them.

study          all experiments that have exports, together
calibration    verdicts where nothing differs, and the gain of pairing by seed
rates          loss against learning rate: rankings at a common rate, and at each arm's best
starts         confounds among an experiment's arms, found in its exports or its stored audit
verdict_table  the verdicts as a table on the terminal, as CSV and as Markdown
draw_all       every figure of a study, as files and as pictures of the page
compact_svg    a picture as a fifth of its bytes
plain_words    a verdict for a reader who is no statistician
scope          what a report is about: a whole study, or one experiment and its runs
comparison     the arms of one experiment: mean, spread, and difference to a reference arm
commands       the commands that train an experiment's runs again
outputs        the files of a report, and which older ones they may replace
printed        lines on the terminal about how far the verdicts can be trusted
forest         a verdict's effect and interval as one line of a forest plot
page           the study as one HTML page (page.html, page.css)
"""
