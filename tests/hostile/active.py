"""Text that would run a script in a browser if a page took it as it is. Each piece says XSS."""

HTML = (
    "<script>XSS()</script><img src=x onerror=XSS()><svg/onload=XSS()><iframe srcdoc='<script>parent.XSS()</script>'>"
    "</iframe><a href='javascript:XSS()'>a</a><a href=' java&#10;script:XSS()'>b</a><form action=javascript:XSS()>"
    "<button formaction=javascript:XSS()>c</button></form><style>@import 'http://x.invalid/XSS.css';</style>"
    "<meta http-equiv=refresh content='0;url=javascript:XSS()'><base href='http://x.invalid/XSS/'>"
    "<object data='data:text/html,<script>XSS()</script>'></object><embed src=javascript:XSS()>"
    "<link rel=stylesheet href='http://x.invalid/XSS.css'><math><mi xlink:href='javascript:XSS()'>d</mi></math>"
    "<details open ontoggle=XSS()>e</details><template><script>XSS()</script></template>"
    "</pre></code></textarea></title>"
    "</script><script>XSS()</script>"
)
SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' onload='XSS()'><script>XSS()</script><foreignObject><body onload='XSS()'/>"
    "</foreignObject><a href='javascript:XSS()'><text>f</text></a><animate onbegin='XSS()' attributeName='x'/></svg>"
)
MARKDOWN = (
    "[click](javascript:XSS()) <javascript:XSS()> ![x](x 'onerror=XSS()') "
    "![y](data:image/svg+xml;base64,PHN2Zz48L3N2Zz4=)\n\n"
    '[ref]\n\n[ref]: javascript:XSS() "XSS"\n\n| a |\n|---|\n| <img src=x onerror=XSS()> |\n\n'
    "```html\n</code></pre><script>XSS()</script>\n```\n\n"
    "$\\href{javascript:XSS()}{x}$ $$</script><script>XSS()</script>$$\n"
)
